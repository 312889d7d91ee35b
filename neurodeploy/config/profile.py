"""Hardware profiles: what a chip allows and what its operations cost, every number with its source.

A profile is one TOML file; a price or limit is an inline table (:mod:`neurodeploy.config.quantity`), never a bare
number.

* ``basis`` says what the number is, strongest first: measured, simulated, derived, vendor, estimated.
* ``read`` says how we know it: quote (verbatim, seen second-hand), page (page, abstract or log read), code (source
  read), secondary (another author's table), memory.
* ``bound = "lower"`` marks a peak-efficiency figure: it prints as ``≥``, never as a range.
* ``inside = "sop"`` marks a cost that another price holds already: it is never charged a second time.
* ``[energy] scope`` says how prices combine: ``per_term`` (each alone, summed), ``marginal`` (``sop`` is the slope of
  whole-chip power against operations per second: add static power only), ``all_in`` (``sop`` is chip power divided by
  operation rate at one operating point: add nothing). ``includes`` says in words what the prices hold.

Refused, all at once, with file, key and rule (ND112): an unknown key, a value without a source, a source key that is
not in ``[references]``, a price without unit or basis, a unit of another kind of number, ``low > value`` or
``value > high``, a formula that does not give the number it stands beside, ``unknown = true`` beside a value.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from neurodeploy.config.profile_tables import (
    EVENT_PRICES,
    NOT_STATED,
    Chip,
    ChipPower,
    Limits,
    Prices,
    Proxy,
    Scope,
)
from neurodeploy.config.quantity import (
    BASES,
    CONFIDENCES,
    PICOJOULES,
    Basis,
    Confidence,
    Duration,
    Power,
    Price,
    Quantity,
    Table,
)
from neurodeploy.diagnostics import Finding, UsageError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "BASES",
    "CONFIDENCES",
    "EVENT_PRICES",
    "PICOJOULES",
    "Basis",
    "Chip",
    "ChipPower",
    "Confidence",
    "Duration",
    "Limits",
    "Power",
    "Price",
    "Prices",
    "Profile",
    "Proxy",
    "Quantity",
    "Scope",
    "load_profile",
    "parse_profile",
    "profile_names",
    "profile_schema",
]


class Profile(Table):
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
    def _all_in_means_all_in(cls, prices: Prices | None) -> Prices | None:
        if prices is not None and prices.scope != "all_in":
            raise ValueError(f'[energy_all_in] has scope "{prices.scope}", it must be "all_in"')
        return prices

    def quantities(self) -> Iterator[tuple[str, Quantity]]:
        """Every price and limit that the file states, with its dotted key."""
        yield from _quantities("", self)

    def priced(self) -> dict[str, Literal["priced", "inside", "unknown"]]:
        """Every term of an inference, and static power, -> whether it has a price of its own.

        ``inside``: another price holds it already, by its mark or because the scope leaves it no charge of its own.
        """
        terms: dict[str, Literal["priced", "inside", "unknown"]] = {}
        for name, field in Prices.model_fields.items():
            price = getattr(self.energy, name)
            if field.annotation is not Price or name == "stdp_update":
                continue
            alone = self.energy.scope == "per_term" or name in EVENT_PRICES
            terms[name] = "inside" if price.inside or not alone else "priced" if price.known else "unknown"
        held = self.energy.scope == "all_in"
        terms["static"] = "inside" if held else "priced" if self.power.static_chip_mW.known else "unknown"
        return terms


def _quantities(prefix: str, value: Any) -> Iterator[tuple[str, Quantity]]:
    if isinstance(value, Quantity):
        if not (value.unknown and value.note == NOT_STATED):
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
        references = table.get("references", {})
        return Profile.model_validate(table, context={"references": references if isinstance(references, dict) else {}})
    except ValidationError as error:
        findings = tuple(_findings(error))
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


#: Where pydantic says which member of a union it tried: of a ``value``, which may be a number or a word.
_UNION = ("bool", "int", "float", "str")


def _findings(error: ValidationError) -> Iterator[Finding]:
    """One finding a key and rule; what no member of a union takes is one finding, not one for each."""
    tried = set()
    for problem in error.errors(include_url=False):
        if problem["loc"][-1] not in _UNION:
            yield _finding(problem)
        elif problem["loc"][:-1] not in tried:
            tried.add(problem["loc"][:-1])
            yield _finding({**problem, "type": "union", "loc": problem["loc"][:-1]})


def _finding(problem: Any) -> Finding:
    key = ".".join(str(part) for part in problem["loc"])
    rules = {
        "extra_forbidden": "unknown key",
        "missing": "missing",
        "union": f"{problem['input']!r} is neither a finite number, nor a word, nor true or false",
    }
    rule = rules.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    if problem["type"] == "model_type":  # a bare number where a table must say where it comes from
        shape = "{ value = …, source = … } or { unknown = true }" if "value" in _fields(problem) else "a table"
        rule = f"{problem['input']!r} stands alone; write {shape}"
    fix = ""
    if problem["type"] == "extra_forbidden":
        fix = _known_keys(problem["loc"])
    return Finding("ND112", "error", key, rule, fix=fix)


def _fields(problem: Any) -> Iterable[str]:
    """The keys of the table that a ``model_type`` problem misses."""
    tables = {kind.__name__: kind for kind in (Quantity, Price, Power, Duration)}
    found = tables.get(problem["ctx"]["class_name"])
    return () if found is None else found.model_fields


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
