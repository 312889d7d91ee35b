"""Hardware profiles: what a chip allows and what its operations cost, every number with its source.

A profile is one TOML file. A price or limit is an inline table, never a bare number::

    sop = { value = 23.6, low = 23.6, high = 35.5, unit = "pJ", basis = "simulated", read = "quote",
            confidence = "high", source = "davies2018 Table 2", note = "stated as a minimum" }
    mac = { unknown = true, note = "no MAC unit" }

* ``basis`` says what the number is, strongest first: measured, simulated, derived, vendor, estimated.
* ``read`` says how we know it: quote (verbatim, seen second-hand), page (page or abstract read), code (source read),
  secondary (another author's table), memory.
* ``bound = "lower"`` marks a peak-efficiency figure: it prints as ``≥``, never as a range.
* ``inside = "sop"`` marks a cost that another price holds already: it is never charged a second time.
* ``[energy] scope`` says how prices combine: ``per_term`` (each alone, summed), ``marginal`` (``sop`` is the slope of
  whole-chip power against operations per second: add static power only), ``all_in`` (``sop`` is chip power divided by
  operation rate at one operating point: add nothing).

Refused, all at once, with file, key and rule (ND112): an unknown key, a value without a source, a price without unit
or basis, ``low > value`` or ``value > high``, ``unknown = true`` beside a value.
"""

from __future__ import annotations

import math
import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from neurodeploy.diagnostics import Finding, UsageError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What a number is, strongest first.
BASES = ("measured", "simulated", "derived", "vendor", "estimated")
#: How sure we are of it, most first.
CONFIDENCES = ("high", "medium", "low")

Basis = Literal["measured", "simulated", "derived", "vendor", "estimated"]
Confidence = Literal["high", "medium", "low"]
Scope = Literal["per_term", "marginal", "all_in"]

#: Energy units a price may be written in, in pJ.
PICOJOULES = {"fJ": 1e-3, "pJ": 1.0, "nJ": 1e3, "uJ": 1e6}
_MILLIWATTS = {"uW": 1e-3, "mW": 1.0, "W": 1e3}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Quantity(_Table):
    """A value with its range and provenance, or ``unknown = true`` with a note."""

    value: bool | int | float | str | None = Field(None, description="The number (or word) itself.")
    low: float | None = Field(None, description="Lowest value that a source supports.")
    high: float | None = Field(None, description="Highest value that a source supports.")
    unit: str = Field("", description="Unit of value, low and high.")
    basis: Basis | None = Field(None, description="What the number is, strongest first.")
    read: Literal["quote", "page", "code", "secondary", "memory"] | None = Field(None, description="How we know it.")
    confidence: Confidence | None = None
    source: str = Field("", description="Where it is published: document and place in it.")
    note: str = ""
    bound: Literal["lower"] | None = Field(None, description="A peak-efficiency figure: prints as at least.")
    inside: Literal["sop", "static", "sop/static"] | None = Field(None, description="Held by another price already.")
    unknown: bool = Field(False, description="Nobody has published it; only note and inside may stand beside it.")

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    @model_validator(mode="after")
    def _has_provenance(self) -> Quantity:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        if self.unknown:
            stated = [k for k in ("value", "low", "high", "basis", "bound") if getattr(self, k) is not None]
            if stated:
                yield f"unknown = true beside {', '.join(stated)}: either the number is known or it is not"
            return
        if self.value is None:
            yield "no value; write { unknown = true, note = … } if nobody has published it"
            return
        if not self.source.strip():
            yield "a value without a source; name the document and the place in it, or write { unknown = true }"
        if self.low is None and self.high is None:
            return
        if isinstance(self.value, (bool, str)):
            yield "low and high need a number as value"
            return
        if self.low is not None and self.low > self.value:
            yield f"low {self.low:g} is above value {self.value:g}"
        if self.high is not None and self.value > self.high:
            yield f"value {self.value:g} is above high {self.high:g}"
        if self.high is not None and self.bound == "lower":
            yield 'bound = "lower" and high contradict each other'


class _Measure(Quantity):
    """A physical number: it also needs a basis and one of the units of its kind."""

    @abstractmethod
    def _units(self) -> Mapping[str, float]:
        """Units of this kind of number -> factor to the base unit."""

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if self.value is None:
            return
        if isinstance(self.value, (bool, str)) or not math.isfinite(self.value) or self.value < 0:
            yield f"value {self.value!r} is not a number of at least 0"
        if self.low is not None and self.low < 0:
            yield f"low {self.low:g} is below 0"
        if self.basis is None:
            yield f"no basis; one of {', '.join(BASES)}"
        if self.unit not in self._units():
            yield f"unit {self.unit!r}; one of {', '.join(self._units())}"

    def amounts(self) -> tuple[float, float, float | None]:
        """``(value, low, high)`` in the base unit of its kind (pJ, mW or s); ``high`` None for a lower bound."""
        assert isinstance(self.value, (int, float)), "amounts() of an unknown number"
        scale = self._units()[self.unit]
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return self.value * scale, low * scale, None if self.bound == "lower" else high * scale


class Price(_Measure):
    """Energy of one operation."""

    def _units(self) -> Mapping[str, float]:
        return PICOJOULES


class Power(_Measure):
    """Power of a chip or core."""

    def _units(self) -> Mapping[str, float]:
        return _MILLIWATTS


class Duration(_Measure):
    """Time of one timestep: ``value`` in real-time operation, ``low`` the fastest seen."""

    def _units(self) -> Mapping[str, float]:
        return _SECONDS


_NOT_STATED = "not stated in the profile"


def _unknown(kind: type[Quantity]) -> Any:
    return Field(default_factory=lambda: kind.model_validate({"unknown": True, "note": _NOT_STATED}))


class Chip(_Table):
    """Who it is. ``event_driven`` is a sentence or a truth value."""

    id: str
    name: str
    year: int | None = None
    process: Quantity | None = None
    event_driven: bool | str | None = None
    timestep_s: Duration = _unknown(Duration)


class Limits(_Table):
    """What fits. A limit that is absent or unknown is never checked, and that is said."""

    cores: Quantity | None = None
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


class Prices(_Table):
    """Energy per operation. A price that is absent is unknown, and a count that meets it becomes UNPRICED."""

    scope: Scope
    operating_point: str = ""
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


class ChipPower(_Table):
    """Power that is drawn whatever the network does (static), or while it runs (active, for orientation only)."""

    static_chip_mW: Power = _unknown(Power)
    static_core_mW: Power = _unknown(Power)
    active_chip_mW: Power = _unknown(Power)


class Proxy(_Table):
    """Whose prices stand in, unchanged, when the user asks for it (``--allow-proxy``); labeled as an estimate."""

    inherit: str
    note: str = ""


class Profile(_Table):
    """A hardware profile."""

    format_version: Literal[1] = Field(alias="schema")
    chip: Chip
    limits: Limits = Field(default_factory=Limits)
    energy: Prices
    energy_all_in: Prices | None = Field(None, description="Another published model of the same chip; never mixed in.")
    precision: dict[str, Price] = Field(default_factory=dict, description="Arithmetic prices by operand type.")
    memory: dict[str, Price] = Field(default_factory=dict, description="Energy of one 64-bit access.")
    power: ChipPower = Field(default_factory=ChipPower)
    proxy: Proxy | None = None
    references: dict[str, str] = Field(default_factory=dict, description="Short name used in sources -> full title.")

    @field_validator("energy_all_in")
    @classmethod
    def _all_in_means_all_in(cls, prices: Prices | None, info: ValidationInfo) -> Prices | None:
        if prices is not None and prices.scope != "all_in":
            raise ValueError(f'[energy_all_in] has scope "{prices.scope}", it must be "all_in"')
        return prices

    def quantities(self) -> Iterator[tuple[str, Quantity]]:
        """Every price and limit that the file states, with its dotted key."""
        yield from _quantities("", self)


def _quantities(prefix: str, value: Any) -> Iterator[tuple[str, Quantity]]:
    if isinstance(value, Quantity):
        if not (value.unknown and value.note == _NOT_STATED):
            yield prefix, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _quantities(f"{prefix}.{name}" if prefix else name, getattr(value, name))
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from _quantities(f"{prefix}.{name}", entry)


def profile_names() -> list[str]:
    """Names of the profiles that ship, sorted."""
    return sorted(e.name[:-5] for e in _shipped().iterdir() if e.name.endswith(".toml"))


def load_profile(name_or_path: str | Path) -> Profile:
    """Read a shipped profile by name, or any by path (ends in ``.toml``, starts with ``.``, ``/``, ``~``, or a file).

    Raises:
        UsageError: ND101 for an unknown name; ND112 for a file that cannot be read or breaks rules, with every
            finding (key and rule).
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or text[:1] in "./~" or Path(text).is_file():
        path = Path(text).expanduser()
        try:
            return parse_profile(path.read_text(encoding="utf-8"), where=str(path))
        except (OSError, UnicodeDecodeError) as error:
            fix = "name an existing profile file, or one of: " + ", ".join(profile_names())
            raise UsageError("ND112", f"the profile cannot be read: {error}", where=text, fix=fix) from error
    names = profile_names()
    if text not in names:
        raise UsageError(
            "ND101",
            f"no such profile: {text}",
            where="profile",
            fix=f"{nearest(text, names)} (neurodeploy list profiles)",
        )
    entry = _shipped() / f"{text}.toml"
    return parse_profile(entry.read_text(encoding="utf-8"), where=f"hardware_profiles/{text}.toml")


def parse_profile(text: str, *, where: str) -> Profile:
    """A profile from TOML text; ``where`` names the file in messages. Raises ND112 with all findings."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError("ND112", f"not TOML: {error}", where=where, fix="correct the syntax at that place") from error
    try:
        return Profile.model_validate(table)
    except ValidationError as error:
        findings = tuple(_finding(problem) for problem in error.errors(include_url=False))
        count = "1 rule is" if len(findings) == 1 else f"{len(findings)} rules are"
        raise UsageError(
            "ND112",
            f"{count} broken in the profile",
            where=where,
            fix="correct the keys below; `neurodeploy list profiles --json` prints the schema",
            findings=findings,
        ) from error


def profile_schema() -> dict[str, Any]:
    """JSON schema of a profile file."""
    return Profile.model_json_schema(by_alias=True)


def _finding(problem: Any) -> Finding:
    key = ".".join(str(part) for part in problem["loc"] if part not in ("bool", "int", "float", "str"))
    rules = {"extra_forbidden": "unknown key", "missing": "missing"}
    rule = rules.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    fix = ""
    if problem["type"] == "extra_forbidden":
        fix = _known_keys(problem["loc"])
    return Finding("ND112", "error", key, rule, fix=fix)


def _known_keys(location: tuple[Any, ...]) -> str:
    """The nearest keys that the table of an unknown key does know."""
    model: Any = Profile
    for part in location[:-1]:
        fields = getattr(model, "model_fields", {})
        by_key = {(field.alias or name): field.annotation for name, field in fields.items()}
        model = by_key.get(str(part))
        options = [kind for kind in getattr(model, "__args__", ()) if hasattr(kind, "model_fields")]
        model = options[0] if options else model
    fields = getattr(model, "model_fields", {})
    return nearest(str(location[-1]), [field.alias or name for name, field in fields.items()]) if fields else ""


def _shipped() -> Any:
    return resources.files("neurodeploy.shipped.hardware_profiles")
