"""Exact counts times sourced prices, with the provenance of every number.

Per inference, in pJ, for counts ``N`` of the emitted graph (summed over its layers) and prices ``e`` of a profile::

    E_dynamic = N_sop e_sop + N_graded e_graded + N_mac e_mac
              + N_active e_active + N_idle e_idle + N_spikes e_out + N_messages e_msg + N_hops e_hop
    E_static  = P_static · T · dt · chips

Every term is priced alone and carries value, unit, basis, confidence and source. What cannot be priced is listed as
UNPRICED, and the total is then a lower bound (printed ``≥``); nothing is priced by guess and nothing is dropped.

Which terms may be added is the profile's ``scope``:

====================================== ======== ======== ======
cost                                   per_term marginal all_in
====================================== ======== ======== ======
sop, sop_graded, mac (disjoint events) yes      yes      yes
neuron, spike, message and hop terms   yes      inside   inside
static power x time                    yes      yes      inside
====================================== ======== ======== ======

In every scope a price marked ``inside`` is not charged a second time. ``sop_graded`` and ``mac`` replace ``sop`` for
the events they count, so adding them charges no event twice.

The host's part (a first layer on pixels) is work too, but not the chip's: it is reported apart, and priced only where
the profile has a price for a multiply-accumulate; it never enters the chip's total.

The low end of a range adds the low ends, the high end the high ends: the prices of one chip err together, so their
errors are not assumed to cancel. A range speaks of the prices only; the counts are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neurodeploy.config.profile import BASES, CONFIDENCES, Price, Profile, load_profile
from neurodeploy.sim.trace import LayerCounts

#: Term (its price in the profile) -> count that it multiplies.
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

#: Anything that names a layer and its counts: :class:`LayerCounts`, or one entry of ``layers`` in simulate's JSON.
Layer = LayerCounts | Mapping[str, Any]


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
        """Energy per term over all layers, in the order of :data:`TERMS`."""
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


def estimate(
    layers: Sequence[Layer],
    profile: Profile | str,
    *,
    samples: int,
    timesteps: int,
    chips: int | None = None,
    chips_from: str = "given",
    host_layers: Sequence[Layer] = (),
    allow_proxy: bool = False,
) -> Estimate:
    """Energy of one inference from the counts of a simulation (see the module's equation).

    Args:
        layers: Counts of the chip's layers, summed over ``samples``: of a :class:`~neurodeploy.sim.trace.Trace`, or
            the ``layers`` of ``neurodeploy simulate --json``.
        profile: A profile or its name.
        samples: Inferences that the counts cover.
        timesteps: Timesteps T of one inference; static energy lasts ``T · dt``.
        chips: Chips that the network takes; unknown counts as 1, and that is said.
        chips_from: Target whose placement says so, which need not be the profile's chip.
        host_layers: Counts of the host's part.
        allow_proxy: Let the profile's ``[proxy]`` chip stand in for unknown prices; labeled as an estimate.
    """
    if isinstance(profile, str):
        profile = load_profile(profile)
    if samples < 1 or timesteps < 1:
        raise ValueError(f"samples and timesteps must be at least 1, not {samples} and {timesteps}")
    shop = _Prices(profile, allow_proxy)

    terms: list[Term] = []
    unpriced: list[Unpriced] = []
    used: dict[str, PriceTag] = {}
    not_charged: dict[str, str] = {}
    for layer in layers:
        name = _name(layer)
        for key, count_key in TERMS.items():
            total = _count(layer, count_key)
            count = None if total is None else total / samples
            if count == 0:
                continue
            inside = shop.inside(key)
            if inside:
                not_charged[key] = inside
                continue
            tag = shop.tag(key)
            if tag is None or count is None:
                unpriced.append(Unpriced(name, key, count, _why(shop, key, count_key, tag, count)))
                continue
            used[key] = tag
            terms.append(Term(name, key, count, _times(tag, count)))

    dynamic = sum((term.energy for term in terms), ZERO)
    static, static_tag, static_note = _static(profile, timesteps, chips, chips_from)
    if static_tag is not None:
        used["static"] = static_tag
    lower = bool(unpriced) or dynamic.high_pj is None
    if static is None and profile.energy.scope != "all_in":
        unpriced.append(Unpriced("", "static", None, static_note))
    proxied = shop.proxy_name if any(tag.source.startswith("PROXY") for tag in used.values()) else None
    return Estimate(
        profile=profile.chip.id,
        name=profile.chip.name,
        scope=profile.energy.scope,
        operating_point=profile.energy.operating_point,
        timesteps=timesteps,
        samples=samples,
        terms=tuple(terms),
        dynamic=dynamic,
        dynamic_is_lower_bound=lower,
        static=static,
        static_note=static_note,
        unpriced=tuple(unpriced),
        not_charged=not_charged,
        host=_host(host_layers, shop, samples),
        prices=tuple(used.values()),
        basis=_weakest((tag.basis for tag in used.values()), BASES),
        confidence=_weakest((tag.confidence for tag in used.values()), CONFIDENCES),
        proxy=proxied,
    )


class _Prices:
    """The prices of a profile as they may be used: scope, ``inside`` and the proxy applied."""

    def __init__(self, profile: Profile, allow_proxy: bool) -> None:
        self.profile = profile
        self.proxy_name = profile.proxy.inherit if allow_proxy and profile.proxy else None
        self.proxy = load_profile(self.proxy_name) if self.proxy_name else None

    def inside(self, key: str) -> str:
        """Why a term is not charged on its own; empty when it is."""
        scope = self.profile.energy.scope
        if key not in EVENT_TERMS and scope != "per_term":
            return f"inside sop (scope {scope})"
        marks = {price.inside for price in _fields(self.profile, key)}
        return "inside " + "/".join(sorted(mark for mark in marks if mark)) if any(marks) else ""

    def tag(self, key: str) -> PriceTag | None:
        """The price of a term, None where unknown."""
        own = _tag(key, _fields(self.profile, key))
        if own is not None or self.proxy is None:
            return own
        other = _tag(key, _fields(self.proxy, key))
        if other is None:
            return None
        note = self.profile.proxy.note if self.profile.proxy else ""
        return PriceTag(
            key=key,
            value=other.value,
            low=other.low,
            high=other.high,
            unit=other.unit,
            basis="estimated",
            confidence="low",
            source=f"PROXY {self.proxy.chip.id}: {other.source}",
            note=note,
        )

    def note(self, key: str) -> str:
        """What the profile says beside an unknown price."""
        return "; ".join(dict.fromkeys(price.note for price in _fields(self.profile, key) if price.note))


def _fields(profile: Profile, key: str) -> tuple[Price, ...]:
    if key == "hop":
        return profile.energy.hop_x, profile.energy.hop_y
    price: Price = getattr(profile.energy, key)
    return (price,)


def _tag(key: str, prices: tuple[Price, ...]) -> PriceTag | None:
    """One tag from one price, or from the two directions of a hop: counts do not tell them apart, so their mean."""
    if not all(price.known for price in prices):
        return None
    amounts = [price.amounts() for price in prices]
    highs = [high for _, _, high in amounts]
    notes = [price.note for price in prices if price.note]
    if len(prices) > 1:
        notes.append("mean of both directions: hops are counted without direction")
    return PriceTag(
        key=key,
        value=sum(value for value, _, _ in amounts) / len(amounts),
        low=min(low for _, low, _ in amounts),
        high=None if None in highs else max(high for high in highs if high is not None),
        unit="pJ",
        basis=_weakest((price.basis for price in prices), BASES) or "",
        confidence=_weakest((price.confidence for price in prices), CONFIDENCES) or "low",
        source="; ".join(dict.fromkeys(price.source for price in prices)),
        note="; ".join(dict.fromkeys(notes)),
    )


def _times(tag: PriceTag, count: float) -> Amount:
    return Amount(count * tag.value, count * tag.low, None if tag.high is None else count * tag.high)


def _why(shop: _Prices, key: str, count_key: str, tag: PriceTag | None, count: float | None) -> str:
    reasons = []
    if tag is None:
        note = shop.note(key)
        reasons.append(f"no published price ({note})" if note else "no published price")
    if count is None:
        whys = {"messages": ": no placement on cores", "hops": ": no placement of cores on the mesh"}
        reasons.append(f"{count_key} not counted{whys.get(count_key, '')}")
    return "; ".join(reasons)


def _static(
    profile: Profile, timesteps: int, chips: int | None, chips_from: str
) -> tuple[Static | None, PriceTag | None, str]:
    if profile.energy.scope == "all_in":
        return None, None, "inside sop (scope all_in)"
    power, step = profile.power.static_chip_mW, profile.chip.timestep_s
    missing = [
        f"{what} unknown" + (f" ({quantity.note})" if quantity.note else "")
        for what, quantity in (("static power", power), ("timestep", step))
        if not quantity.known
    ]
    if missing:
        return None, None, "; ".join(missing)
    value, low, high = power.amounts()
    tag = PriceTag(
        key="static",
        value=value,
        low=low,
        high=high,
        unit="mW",
        basis=power.basis or "",
        confidence=power.confidence or "low",
        source=f"{power.source}; timestep: {step.source}",
        note="; ".join(note for note in (power.note, step.note) if note),
    )
    step_s, fastest_step_s, _ = step.amounts()
    count = 1 if chips is None else chips

    def energy(seconds: float) -> Amount:
        return _times(tag, seconds * count * 1e9)  # mW · s = mJ = 1e9 pJ

    seconds, fastest = timesteps * step_s, timesteps * fastest_step_s
    has_fastest = fastest_step_s < step_s
    static = Static(
        real_time=energy(seconds),
        real_time_s=seconds,
        fastest=energy(fastest) if has_fastest else None,
        fastest_s=fastest if has_fastest else None,
        chips=count,
        chips_assumed=chips is None,
        chips_from="assumed" if chips is None else chips_from,
    )
    note = "chips unknown: 1 assumed" if chips is None else f"{count} chip" + ("s" if count != 1 else "")
    return static, tag, note


def _host(host_layers: Sequence[Layer], shop: _Prices, samples: int) -> HostWork | None:
    if not host_layers:
        return None
    mac = _sum(_count(layer, "mac") for layer in host_layers)
    once = _sum(_count(layer, "mac_once") for layer in host_layers)
    work = once or mac
    tag = shop.tag("mac")
    if tag is None:
        energy, note = None, "runs on the host: not priced (this profile has no price for a multiply-accumulate)"
    elif not work:
        energy, note = None, "runs on the host: multiply-accumulates not counted" if work is None else "no multiplies"
    else:
        how = "encoded once" if once else "encoded at every timestep"
        energy, note = _times(tag, work / samples), f"runs on the host, {how}: priced apart, not in the chip's total"
    names = tuple(_name(layer) for layer in host_layers)
    per = [None if count is None else count / samples for count in (mac, once)]
    return HostWork(names, per[0], per[1], energy, note)


def _name(layer: Layer) -> str:
    return layer.name if isinstance(layer, LayerCounts) else str(layer["name"])


def _count(layer: Layer, key: str) -> int | None:
    if isinstance(layer, LayerCounts):
        return layer.total(key)
    value = layer[key]
    return None if value is None else int(value)


def _sum(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _sums(pairs: Iterable[tuple[str, Amount]]) -> dict[str, Amount]:
    sums: dict[str, Amount] = {}
    for key, amount in pairs:
        sums[key] = sums.get(key, ZERO) + amount
    return sums


def _weakest(words: Iterable[str | None], order: Sequence[str]) -> str | None:
    ranks = [order.index(word) for word in words if word]
    return order[max(ranks)] if ranks else None
