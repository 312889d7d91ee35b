"""The host's part of a network (a first layer on pixels, a tail): work, but not the chip's."""

from __future__ import annotations

from collections.abc import Sequence

from neurodeploy.energy.counts import Layer, count, name_of, sum_known
from neurodeploy.energy.model import HostWork
from neurodeploy.energy.prices import PriceBook


def host_work(layers: Sequence[Layer], book: PriceBook, samples: int) -> HostWork | None:
    """Multiply-accumulates of the host per inference, at the profile's price where it has one; None without a host."""
    if not layers:
        return None
    mac = sum_known(count(layer, "mac") for layer in layers)
    once = sum_known(count(layer, "mac_once") for layer in layers)
    work = once or mac
    tag = book.tag("mac")
    if tag is None:
        energy, note = None, "runs on the host: not priced (this profile has no price for a multiply-accumulate)"
    elif not work:
        energy, note = None, "runs on the host: multiply-accumulates not counted" if work is None else "no multiplies"
    else:
        how = "encoded once" if once else "encoded at every timestep"
        energy, note = tag.times(work / samples), f"runs on the host, {how}: priced apart, not in the chip's total"
    names = tuple(name_of(layer) for layer in layers)
    per = [None if total is None else total / samples for total in (mac, once)]
    return HostWork(names, per[0], per[1], energy, note)
