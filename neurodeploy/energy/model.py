"""What an estimate consists of: amounts with a range, priced terms, what has no price, and the whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Amount:
    """Energy per inference in pJ with its range; ``high_pj`` None where no upper bound is published."""

    pj: float
    low_pj: float
    high_pj: float | None

    def __add__(self, other: Amount) -> Amount:
        high = None if self.high_pj is None or other.high_pj is None else self.high_pj + other.high_pj
        return Amount(self.pj + other.pj, self.low_pj + other.low_pj, high)


ZERO = Amount(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class PriceTag:
    """A price that was used (pJ, or mW for static power) and where it comes from."""

    key: str
    value: float
    low: float
    high: float | None
    unit: str
    basis: str
    confidence: str
    source: str
    note: str

    def times(self, count: float) -> Amount:
        """``count`` operations at this price."""
        return Amount(count * self.value, count * self.low, None if self.high is None else count * self.high)


@dataclass(frozen=True)
class Term:
    """One priced term of one layer. ``key`` names its :class:`PriceTag`; ``count`` is per inference."""

    layer: str
    key: str
    count: float
    energy: Amount


@dataclass(frozen=True)
class Unpriced:
    """A cost that is there and has no number: ``count`` per inference (None where unknown), and why."""

    layer: str
    key: str
    count: float | None
    reason: str


@dataclass(frozen=True)
class Static:
    """Static energy per inference: in real time, and at the fastest timestep seen (None where not published).

    ``chips_from``: the target whose placement gave the chips, and the cores between which messages were counted;
    ``given`` by the caller; or ``assumed``.
    """

    real_time: Amount
    real_time_s: float
    fastest: Amount | None
    fastest_s: float | None
    chips: int
    chips_assumed: bool
    chips_from: str


@dataclass(frozen=True)
class HostWork:
    """Multiply-accumulates of the host per inference, flagged: never part of the chip's total.

    ``mac_once``: a static input encoded once; ``mac``: encoded at every timestep. ``energy`` is ``mac_once`` (else
    ``mac``) at the profile's MAC price, None where it has none.
    """

    layers: tuple[str, ...]
    mac: float | None
    mac_once: float | None
    energy: Amount | None
    note: str


@dataclass(frozen=True)
class Estimate:
    """Energy of one inference on one chip.

    Attributes:
        dynamic: Sum of ``terms``; a lower bound if ``dynamic_is_lower_bound``.
        static: Static energy, None where it is unknown (then UNPRICED) or inside ``sop`` (``static_note`` says which).
        unpriced: Costs without a number; not empty means that totals are lower bounds.
        not_charged: Terms that another price holds already, with the reason.
        basis: Weakest basis among the prices used (measured is strongest, estimated weakest).
        confidence: Lowest confidence among them.
        proxy: The chip whose prices stand in, when the user allowed it.
    """

    profile: str
    name: str
    scope: str
    operating_point: str
    timesteps: int
    samples: int
    terms: tuple[Term, ...]
    dynamic: Amount
    dynamic_is_lower_bound: bool
    static: Static | None
    static_note: str
    unpriced: tuple[Unpriced, ...]
    not_charged: Mapping[str, str]
    host: HostWork | None
    prices: tuple[PriceTag, ...]
    basis: str | None
    confidence: str | None
    proxy: str | None

    @property
    def total(self) -> Amount:
        """Dynamic plus static energy in real time; see :attr:`total_is_lower_bound`."""
        return self.dynamic + self.static.real_time if self.static else self.dynamic

    @property
    def total_is_lower_bound(self) -> bool:
        """Whether something is missing from :attr:`total`, or a price in it is a peak figure."""
        return bool(self.unpriced) or self.dynamic_is_lower_bound or self.total.high_pj is None

    def by_term(self) -> dict[str, Amount]:
        """Energy per term over all layers, in the order of :data:`~neurodeploy.energy.TERMS`."""
        return _sums((term.key, term.energy) for term in self.terms)

    def by_layer(self) -> dict[str, Amount]:
        """Energy per layer over all terms, in graph order."""
        return _sums((term.layer, term.energy) for term in self.terms)

    def unpriced_keys(self) -> dict[str, str]:
        """Each unpriced term once, with its reason."""
        return {entry.key: entry.reason for entry in reversed(self.unpriced)}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with the totals."""
        return {
            **asdict(self),
            "not_charged": dict(self.not_charged),
            "total": asdict(self.total),
            "total_is_lower_bound": self.total_is_lower_bound,
        }


def _sums(pairs: Iterable[tuple[str, Amount]]) -> dict[str, Amount]:
    sums: dict[str, Amount] = {}
    for key, amount in pairs:
        sums[key] = sums.get(key, ZERO) + amount
    return sums
