"""Did you mean …: the nearest known names."""

from __future__ import annotations

from collections.abc import Iterable

#: Names that are not printed in one message.
MANY = 40


def nearest(word: str, known: Iterable[str], *, most: int = 3, lister: str = "neurodeploy list") -> str:
    """A sentence with the known names nearest to ``word``; all names when none is near and they are few.

    ``lister`` is the command that prints them all, named where they are many.
    """
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=most, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    if len(names) > MANY:
        return f"none of the {len(names)} known names is near; `{lister}` prints them"
    return ("known: " + ", ".join(names)) if names else "none is known"
