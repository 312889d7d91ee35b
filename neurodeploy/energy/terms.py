"""The terms of an estimate: which count each price multiplies."""

from __future__ import annotations

from neurodeploy.energy.counts import Layer, count, sum_known

#: Term (its price in the profile) -> count that it multiplies. ``mem_access`` is worked out by :func:`accesses`.
TERMS: dict[str, str] = {
    "sop": "sop",
    "sop_graded": "sop_graded",
    "mac": "mac",
    "neuron_active": "neuron_updates_active",
    "neuron_inactive": "neuron_updates_idle",
    "spike_out": "spikes_out",
    "msg_local": "messages",
    "hop": "hops",
}
#: Terms that count disjoint synaptic events; in every scope they are charged side by side.
EVENT_TERMS = ("sop", "sop_graded", "mac")
#: Memory accesses, a term of scope ``per_term`` alone.
MEMORY = "mem_access"
#: Messages that leave the chip.
OFFCHIP = "offchip_msg"


def term_count(layer: Layer, key: str) -> int | None:
    """How often term ``key`` is paid in a layer, summed over samples; None where unknown."""
    return accesses(layer) if key == MEMORY else count(layer, TERMS[key])


def accesses(layer: Layer) -> int | None:
    """Memory accesses: one for the weight of every synaptic event, two (read, write) for the state of an active update.

    ``sop + sop_graded + mac + 2·neuron_updates_active``. Nothing shares an access, no address or index is read, and an
    idle update is taken to touch nothing (its own price, where a chip has one, holds what it costs).
    """
    events = sum_known(count(layer, key) for key in EVENT_TERMS)
    active = count(layer, "neuron_updates_active")
    return None if events is None or active is None else events + 2 * active
