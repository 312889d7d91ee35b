"""Did you mean …: the nearest known names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], *, most: int = 3) -> str:
    """A sentence with the known names nearest to ``word``; all names when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=most, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    return ("known: " + ", ".join(names)) if names else "none is known"
