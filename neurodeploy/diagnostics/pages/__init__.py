"""One Markdown page per code, shipped beside this file: what it means, why it matters, an example, how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neurodeploy.diagnostics.errors import UsageError
from neurodeploy.diagnostics.suggest import nearest

if TYPE_CHECKING:
    from importlib.abc import Traversable


def _folder() -> Traversable:
    from importlib import resources  # every command imports this module, one in a hundred prints a page

    return resources.files(__name__)


def codes() -> dict[str, str]:
    """Every code with the title of its page, in order."""
    found = {}
    for entry in _folder().iterdir():
        if entry.name.startswith("ND") and entry.name.endswith(".md"):
            title = entry.read_text(encoding="utf-8").splitlines()[0]
            found[entry.name[:-3]] = title.split(":", 1)[1].strip()
    return dict(sorted(found.items()))


def page(code: str) -> str:
    """The page behind ``code``; an unknown code is a :class:`UsageError`."""
    known = codes()
    wanted = code.upper()
    if wanted not in known:
        raise UsageError(
            "ND101", f"no such code: {code}", where="explain", fix=nearest(wanted, known, lister="neurodeploy explain")
        )
    return (_folder() / f"{wanted}.md").read_text(encoding="utf-8")
