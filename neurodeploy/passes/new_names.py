"""Names for the nodes that a pass adds."""

from __future__ import annotations

from collections.abc import Container


def free_name(taken: Container[str], wanted: str) -> str:
    """``wanted``, or ``wanted-2``, ``wanted-3`` … where that is taken."""
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}-{count}"
    return name
