"""One number of a hardware profile: value, range, unit, and where it comes from.

An inline table, never a bare number::

    sop = { value = 23.6, low = 23.6, high = 35.5, unit = "pJ", basis = "simulated", read = "quote",
            confidence = "high", source = "davies2018 Table 2; high: sana-fe", note = "stated as a minimum" }
    mac = { value = 1.56, unit = "pJ", basis = "derived", confidence = "medium", source = "tang2023 Table 3",
            formula = "2 / tops_per_w", given = { tops_per_w = 1.28 } }
    hop_x = { unknown = true, note = "not published" }

* ``source`` is a list of citations, separated by semicolons. A citation begins with a key of the profile's
  ``[references]``, where it has one, and may say before it which of ``value``, ``low`` and ``high`` it stands for.
* ``formula`` (``formula_low``, ``formula_high``) derives the number from those in ``given``; they must agree to
  :data:`AGREEMENT`, since numbers are stated with three digits.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from neurodeploy.config.formula import evaluate, names

#: What a number is, strongest first.
BASES = ("measured", "simulated", "derived", "vendor", "estimated")
#: How sure we are of it, most first.
CONFIDENCES = ("high", "medium", "low")

Basis = Literal["measured", "simulated", "derived", "vendor", "estimated"]
Confidence = Literal["high", "medium", "low"]

#: Energy units a price may be written in, in pJ.
PICOJOULES = {"fJ": 1e-3, "pJ": 1.0, "nJ": 1e3, "uJ": 1e6}
_MILLIWATTS = {"uW": 1e-3, "mW": 1.0, "W": 1e3}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}

#: Relative difference allowed between a number and its formula.
AGREEMENT = 0.005

_CITATION = re.compile(r"\s*(?:(?:value|low|high)\s*:\s*)?([^\s,:;()]+)")
# A name with a year is meant as a key wherever it stands; a word with a hyphen only where there are keys at all.
_YEAR_KEY = re.compile(r"[a-z][a-z-]*[12][0-9]{3}[a-z]?")
_HYPHEN_KEY = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")


def citations(source: str) -> list[str]:
    """The first word of every citation of a source: a key of ``[references]``, where the profile has it there."""
    matches = (_CITATION.match(part) for part in source.split(";"))
    return [match[1] if match else "" for match in matches]


class Table(BaseModel):
    """A table of a profile: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Quantity(Table):
    """A value with its range and provenance, or ``unknown = true`` with a note."""

    value: bool | int | float | str | None = Field(None, description="The number (or word) itself.")
    low: float | None = Field(None, description="Lowest value that a source supports.")
    high: float | None = Field(None, description="Highest value that a source supports.")
    unit: str = Field("", description="Unit of value, low and high.")
    basis: Basis | None = Field(None, description="What the number is, strongest first.")
    read: Literal["quote", "page", "code", "secondary", "memory"] | None = Field(None, description="How we know it.")
    confidence: Confidence | None = None
    source: str = Field("", description="Where it is published: key of [references] and place; `; ` between several.")
    note: str = ""
    formula: str = Field("", description="How value follows from the numbers in given: + - * / and parentheses.")
    formula_low: str = Field("", description="How low follows from them.")
    formula_high: str = Field("", description="How high follows from them.")
    given: dict[str, float] = Field(default_factory=dict, description="The published numbers that formulas start from.")
    bound: Literal["lower"] | None = Field(None, description="A peak-efficiency figure: prints as at least.")
    inside: Literal["sop", "static", "sop/static"] | None = Field(None, description="Held by another price already.")
    unknown: bool = Field(False, description="Nobody has published it; only note and inside may stand beside it.")

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    @property
    def formulas(self) -> dict[str, str]:
        """``value``, ``low``, ``high`` -> formula, for those that have one."""
        every = {"value": self.formula, "low": self.formula_low, "high": self.formula_high}
        return {name: text for name, text in every.items() if text}

    def derived(self) -> dict[str, float]:
        """``value``, ``low``, ``high`` recomputed from ``given``, for those that have a formula."""
        return {name: evaluate(text, self.given) for name, text in self.formulas.items()}

    @model_validator(mode="after")
    def _has_provenance(self, info: ValidationInfo) -> Quantity:
        problems = list(self._problems())
        references = (info.context or {}).get("references")
        if references is not None:
            problems += [
                f"source key {key!r} is not in [references]"
                for key in citations(self.source)
                if key not in references and (_YEAR_KEY.fullmatch(key) or (references and _HYPHEN_KEY.fullmatch(key)))
            ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        if self.unknown:
            stated = [k for k in ("value", "low", "high", "basis", "bound") if getattr(self, k) is not None]
            stated += [k for k in ("formula", "formula_low", "formula_high", "given") if getattr(self, k)]
            if stated:
                yield f"unknown = true beside {', '.join(stated)}: either the number is known or it is not"
            return
        if self.value is None:
            yield "no value; write { unknown = true, note = … } if nobody has published it"
            return
        if not self.source.strip():
            yield "a value without a source; name the document and the place in it, or write { unknown = true }"
        yield from self._range_problems()
        yield from self._formula_problems()

    def _range_problems(self) -> Iterator[str]:
        if self.low is None and self.high is None:
            return
        if isinstance(self.value, (bool, str)) or self.value is None:
            yield "low and high need a number as value"
            return
        if self.low is not None and self.low > self.value:
            yield f"low {self.low:g} is above value {self.value:g}"
        if self.high is not None and self.value > self.high:
            yield f"value {self.value:g} is above high {self.high:g}"
        if self.high is not None and self.bound == "lower":
            yield 'bound = "lower" and high contradict each other'

    def _formula_problems(self) -> Iterator[str]:
        used: set[str] = set()
        for name, text in self.formulas.items():
            stated = getattr(self, name)
            try:
                used |= names(text)
                result = evaluate(text, self.given)
            except ValueError as error:
                yield str(error)
                continue
            if stated is None or isinstance(stated, (bool, str)):
                yield f"a formula for {name}, which is not a number"
            elif not math.isclose(result, stated, rel_tol=AGREEMENT):
                yield f"formula {text!r} gives {result:.4g}, {name} says {stated:g}"
        unused = sorted(set(self.given) - used)
        if unused:
            yield f"given {', '.join(unused)}: no formula uses it"


class Measure(Quantity):
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


class Price(Measure):
    """Energy of one operation."""

    def _units(self) -> Mapping[str, float]:
        return PICOJOULES


class Power(Measure):
    """Power of a chip or core."""

    def _units(self) -> Mapping[str, float]:
        return _MILLIWATTS


class Duration(Measure):
    """Time of one timestep: ``value`` in real-time operation, ``low`` the fastest seen."""

    def _units(self) -> Mapping[str, float]:
        return _SECONDS
