"""Counts and prices made up for tests of estimates."""

from __future__ import annotations

from typing import Any

from neurodeploy.config.profile import Profile, parse_profile
from neurodeploy.sim.trace import COUNT_KEYS


def row(name: str = "layer", **counts: int | None) -> dict[str, Any]:
    """One layer of simulate's JSON; what is not named is 0."""
    return {"name": name, "kind": "lif", "size": 1, **{key: counts.get(key, 0) for key in COUNT_KEYS}}


def profile(energy: str, *, rest: str = "", chip: str = "") -> Profile:
    text = f'schema = 1\n[chip]\nid = "x"\nname = "X"\n{chip}\n[energy]\n{energy}\n{rest}'
    return parse_profile(text, where="test")


def price(value: float, low: float | None = None, high: float | None = None, **more: str) -> str:
    fields = {"value": value, "low": low, "high": high}
    text = ", ".join(f"{key} = {number}" for key, number in fields.items() if number is not None)
    words = {"unit": "pJ", "basis": "measured", "confidence": "high", "source": "s"} | more
    return "{ " + text + "".join(f', {key} = "{word}"' for key, word in words.items()) + " }"


#: Memory that the price of an operation holds.
HELD = 'mem_access = { unknown = true, inside = "sop", note = "inside" }'
