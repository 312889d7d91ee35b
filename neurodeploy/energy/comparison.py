"""Two estimates side by side: a ratio where it says something, a refusal or marks where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from neurodeploy.diagnostics import Finding, UsageError
from neurodeploy.energy.baseline import AnnBaseline, AnnLine
from neurodeploy.energy.model import Estimate


@dataclass(frozen=True)
class Ratio:
    """Dynamic energy of one estimate over that of another.

    ``low`` and ``high`` follow from the ranges of the prices: of one chip both estimates use the same prices, and they
    err together; of two chips they err apart. ``high`` is None where a price has no upper bound. ``marks``: what makes
    it less than a statement about the two.
    """

    value: float
    low: float
    high: float | None
    marks: tuple[str, ...]


def energy_ratio(a: Estimate, b: Estimate, *, marked: bool = False) -> Ratio:
    """``a.dynamic / b.dynamic``.

    Two networks on one chip can be compared where the same terms are priced; what has no price is left out on both
    sides, and marked. Two chips can be compared where scope, weakest basis and terms are the same and nothing is a
    lower bound or a proxy; with ``marked`` the ratio is given all the same, with the reasons beside it.

    Raises:
        UsageError: ND113, with every reason.
    """
    same = (a.profile, a.proxy) == (b.profile, b.proxy)
    reasons = tuple(_within(a, b) if same else _across(a, b))
    if b.dynamic.pj == 0 or (reasons and not same and not marked):
        reasons = reasons or (f"nothing of the energy on {b.name} is priced",)
        raise UsageError(
            "ND113",
            f"energies on {a.name} and {b.name} cannot be divided by each other",
            where=f"{a.profile}, {b.profile}",
            fix="compare two networks on one chip, or ask for a marked ratio",
            findings=tuple(Finding("ND113", "error", f"{a.profile}, {b.profile}", reason) for reason in reasons),
        )
    low, high = _shared(a, b) if same else _independent(a, b)
    return Ratio(a.dynamic.pj / b.dynamic.pj, low, high, reasons)


def differences(snn: Estimate, ann: AnnBaseline, line: AnnLine) -> tuple[str, ...]:
    """Why a spiking network's energy and an ANN's, priced on another chip, stand on different bases."""
    reasons = []
    if snn.scope != ann.scope:
        reasons.append(f"prices of {snn.name} are {snn.scope}, of {ann.name} {ann.scope}: they hold different costs")
    if snn.basis != line.price.basis:
        reasons.append(f"the weakest price of {snn.name} is {snn.basis or 'unknown'}, of {ann.name} {line.price.basis}")
    if line.memory_missing:
        reasons.append(f"{ann.name} does not charge the ANN for its memory")
    reasons.append(f"{ann.name} is another chip")
    return tuple(reasons)


def _within(a: Estimate, b: Estimate) -> Iterator[str]:
    terms = {term.key for term in a.terms} ^ {term.key for term in b.terms}
    if terms:
        yield f"priced on one side only: {', '.join(sorted(terms))}"
    missing = _dynamic_gaps(a) | _dynamic_gaps(b)
    if missing:
        yield f"no price on {a.name}, left out on both sides: {', '.join(sorted(missing))}"


def _across(a: Estimate, b: Estimate) -> Iterator[str]:
    if a.scope != b.scope:
        yield f"prices of {a.name} are {a.scope}, of {b.name} {b.scope}: they hold different costs"
    if a.basis != b.basis:
        yield f"the weakest price of {a.name} is {a.basis or 'unknown'}, of {b.name} {b.basis or 'unknown'}"
    for side in (a, b):
        if _dynamic_gaps(side):
            yield f"{side.name} is a lower bound: no price of {', '.join(sorted(_dynamic_gaps(side)))}"
        elif side.dynamic_is_lower_bound:
            yield f"{side.name} is a lower bound: a price is a peak figure"
        if side.proxy:
            yield f"prices of {side.name} are those of {side.proxy} (proxy)"
        if side.scope == "all_in":
            yield f"the price of {side.name} holds at one operating point alone: {side.operating_point}"
    terms = {term.key for term in a.terms} ^ {term.key for term in b.terms}
    if terms and a.scope == b.scope:
        yield f"priced on one side only: {', '.join(sorted(terms))}"


def _dynamic_gaps(e: Estimate) -> set[str]:
    return {entry.key for entry in e.unpriced if entry.key != "static"}


def _independent(a: Estimate, b: Estimate) -> tuple[float, float | None]:
    low = a.dynamic.low_pj / b.dynamic.high_pj if b.dynamic.high_pj else 0.0
    high = None
    if a.dynamic.high_pj is not None and b.dynamic.low_pj:
        high = a.dynamic.high_pj / b.dynamic.low_pj
    return low, high


def _shared(a: Estimate, b: Estimate) -> tuple[float, float | None]:
    """Extremes of ``Σ N e / Σ M e`` over ``e`` in the box of the prices.

    A ratio of linear functions is extreme at a corner, and there the prices at their high end are those whose N/M lies
    above (below) some level: sorted by N/M, one of n + 1 cuts.
    """
    mine, others = _by_key(a), _by_key(b)
    pairs = [(mine.get(key, _NONE), others.get(key, _NONE)) for key in sorted({*mine, *others})]
    if any(amount[1] is None for pair in pairs for amount in pair):
        return _independent(a, b)
    # N/M of a term is the ratio of its nominal energies; a term that only a has (M = 0) stands last
    pairs.sort(key=lambda pair: pair[0][2] / pair[1][2] if pair[1][2] else float("inf"))
    found = []
    for cut in range(len(pairs) + 1):
        for below, above in ((0, 1), (1, 0)):
            ends = [below] * cut + [above] * (len(pairs) - cut)
            top = sum(float(pair[0][end] or 0.0) for pair, end in zip(pairs, ends, strict=True))
            bottom = sum(float(pair[1][end] or 0.0) for pair, end in zip(pairs, ends, strict=True))
            found.append(top / bottom if bottom else float("inf"))
    return min(found), None if max(found) == float("inf") else max(found)


_Ends = tuple[float, float | None, float]
_NONE: _Ends = (0.0, 0.0, 0.0)


def _by_key(e: Estimate) -> dict[str, _Ends]:
    """Term -> its energy with all prices low, all high, nominal."""
    return {key: (amount.low_pj, amount.high_pj, amount.pj) for key, amount in e.by_term().items()}
