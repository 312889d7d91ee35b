"""The tables of a hardware profile: who the chip is, what fits, what operations cost, what power is drawn."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from neurodeploy.config.quantity import Duration, Power, Price, Quantity, Table

Scope = Literal["per_term", "marginal", "all_in"]

#: Prices of disjoint synaptic events: the only ones that a scope other than ``per_term`` leaves to charge.
EVENT_PRICES = ("sop", "sop_graded", "mac")

#: Note of a number that the file does not mention.
NOT_STATED = "not stated in the profile"


def _unknown(kind: type[Quantity]) -> Any:
    return Field(default_factory=lambda: kind.model_validate({"unknown": True, "note": NOT_STATED}))


class Chip(Table):
    """Who it is. ``event_driven`` is a sentence or a truth value.

    ``kind``: a neuromorphic chip; a conventional one, whose ``mac`` prices the network's non-spiking counterpart; or
    arithmetic alone, a yardstick without a chip.
    """

    id: str
    name: str
    kind: Literal["neuromorphic", "conventional", "arithmetic"] = "neuromorphic"
    year: int | None = None
    process: Quantity | None = None
    event_driven: bool | str | None = None
    timestep_s: Duration = _unknown(Duration)


#: Limit -> the units it may be written in; counts need none.
_LIMIT_UNITS = {
    "cores": ("", "cores"),
    "mesh_x": ("", "tiles"),
    "mesh_y": ("", "tiles"),
    "cores_per_tile": ("", "cores"),
    "neurons_per_core": ("", "neurons"),
    "synapse_mem_per_core_kB": ("", "kB"),
    "mem_per_core_kB": ("", "kB"),
    "synapses_per_chip": ("", "synapses"),
    "fan_in_axons_per_core": ("", "axons"),
    "fan_out_edges_per_core": ("", "edges", "axons"),
    "max_fan_in": ("", "synapses"),
    "max_fan_out": ("", "synapses", "axons", "cores", "layers"),
    "weight_bits": ("", "bit"),
    "membrane_bits": ("", "bit"),
    "graded_payload_bits": ("", "bit"),
}


class Limits(Table):
    """What fits. A limit that is absent or unknown is never checked, and that is said.

    The mesh is ``mesh_x`` columns by ``mesh_y`` rows of tiles with ``cores_per_tile`` cores behind one router each.
    """

    cores: Quantity | None = None
    mesh_x: Quantity | None = None
    mesh_y: Quantity | None = None
    cores_per_tile: Quantity | None = None
    neurons_per_core: Quantity | None = None
    synapse_mem_per_core_kB: Quantity | None = None
    mem_per_core_kB: Quantity | None = None
    synapses_per_chip: Quantity | None = None
    fan_in_axons_per_core: Quantity | None = None
    fan_out_edges_per_core: Quantity | None = None
    max_fan_in: Quantity | None = None
    max_fan_out: Quantity | None = None
    weight_bits: Quantity | None = None
    membrane_bits: Quantity | None = None
    graded_spikes: Quantity | None = None
    graded_payload_bits: Quantity | None = None
    leak: Quantity | None = None
    reset: Quantity | None = None

    @field_validator("*")
    @classmethod
    def _unit_of_this_limit(cls, quantity: Quantity | None, info: ValidationInfo) -> Quantity | None:
        allowed = _LIMIT_UNITS.get(info.field_name or "", ("",))
        if quantity is not None and quantity.unit not in allowed:
            raise ValueError(f"unit {quantity.unit!r}; " + (f"write {allowed[1]!r}" if allowed[1:] else "it has none"))
        return quantity


class Prices(Table):
    """Energy per operation. A price that is absent is unknown, and a count that meets it becomes UNPRICED.

    ``mem_access`` is one access of 64 bits to the memory that holds weights and states.
    """

    scope: Scope
    operating_point: str = ""
    includes: str = Field("", description="What the prices hold, and what they leave out.")
    default_precision: str = ""
    sop: Price = _unknown(Price)
    sop_graded: Price = _unknown(Price)
    mac: Price = _unknown(Price)
    neuron_active: Price = _unknown(Price)
    neuron_inactive: Price = _unknown(Price)
    spike_out: Price = _unknown(Price)
    msg_local: Price = _unknown(Price)
    hop_x: Price = _unknown(Price)
    hop_y: Price = _unknown(Price)
    offchip_msg: Price = _unknown(Price)
    mem_access: Price = _unknown(Price)
    stdp_update: Price = _unknown(Price)


class ChipPower(Table):
    """Power that is drawn whatever the network does (static), or while it runs (active, for orientation only)."""

    static_chip_mW: Power = _unknown(Power)
    static_core_mW: Power = _unknown(Power)
    active_chip_mW: Power = _unknown(Power)


class Proxy(Table):
    """Whose prices stand in, unchanged, when the user asks for it (``--allow-proxy``); labeled as an estimate."""

    inherit: str
    note: str = ""
