"""``estimate``: every term of every layer priced alone, static energy apart, the host's work flagged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from neurodeploy.config.profile import BASES, CONFIDENCES, Profile, load_profile
from neurodeploy.energy.counts import Counted, Layer, Source, count, counted, name_of
from neurodeploy.energy.host import host_work
from neurodeploy.energy.model import ZERO, Amount, Estimate, PriceTag, Term, Unpriced
from neurodeploy.energy.prices import PriceBook, weakest
from neurodeploy.energy.static import static_energy
from neurodeploy.energy.terms import MEMORY, OFFCHIP, TERMS, term_count

#: Layer -> hops east-west and north-south, ``(T,)`` each, summed over samples.
HopCounts = Mapping[str, tuple[np.ndarray, np.ndarray]]


def estimate(
    source: Source | Sequence[Layer],
    profile: Profile | str | Path,
    *,
    samples: int | None = None,
    timesteps: int | None = None,
    chips: int | None = None,
    chips_from: str = "given",
    host_layers: Sequence[Layer] | None = None,
    allow_proxy: bool = False,
    hops: HopCounts | None = None,
) -> Estimate:
    """Energy of one inference from the counts of a simulation (see the package's equation).

    Args:
        source: A :class:`~neurodeploy.sim.trace.Trace`; the JSON of ``neurodeploy simulate`` (whole or its ``result``);
            a file with it, or with the arrays of ``--trace``; or the chip's layers alone, counts summed over
            ``samples``.
        profile: A profile or its name.
        samples: Inferences that the counts cover; needed with layers alone.
        timesteps: Timesteps T of one inference; static energy lasts ``T · dt``. Needed with layers alone.
        chips: Chips that the network takes; unknown counts as 1, and that is said.
        chips_from: Target whose placement says so, which need not be the profile's chip.
        host_layers: Counts of the host's part, where the source does not hold them.
        allow_proxy: Let the profile's ``[proxy]`` chip stand in for unknown prices; labeled as an estimate.
        hops: Hops by direction (:func:`~neurodeploy.energy.mesh.count_hops`), instead of the layers' ``hops``.

    Raises:
        UsageError: ND101, ND112 for the profile; ND103 for a source without counts.
    """
    found = _counted(source, samples, timesteps, host_layers)
    loaded = profile if isinstance(profile, Profile) else load_profile(profile)
    ledger = _Ledger(PriceBook(loaded, allow_proxy), found.samples)
    for layer in found.layers:
        for key in (*TERMS, MEMORY):
            if key == "hop" and hops is not None:
                ledger.charge_hops(name_of(layer), hops.get(name_of(layer)), count(layer, "messages"))
            else:
                ledger.charge(name_of(layer), key, term_count(layer, key))
    if chips is not None and chips > 1 and any(count(layer, "messages") != 0 for layer in found.layers):
        ledger.charge("", OFFCHIP, None)

    dynamic = sum((term.energy for term in ledger.terms), ZERO)
    lower = bool(ledger.unpriced) or dynamic.high_pj is None
    static, static_tag, static_note = static_energy(loaded, found.timesteps, chips, chips_from)
    if static_tag is not None:
        ledger.used["static"] = static_tag
    if static is None and loaded.energy.scope != "all_in":
        ledger.unpriced.append(Unpriced("", "static", None, static_note))
    tags = tuple(ledger.used.values())
    return Estimate(
        profile=loaded.chip.id,
        name=loaded.chip.name,
        scope=loaded.energy.scope,
        operating_point=loaded.energy.operating_point,
        timesteps=found.timesteps,
        samples=found.samples,
        terms=tuple(ledger.terms),
        dynamic=dynamic,
        dynamic_is_lower_bound=lower,
        static=static,
        static_note=static_note,
        unpriced=tuple(ledger.unpriced),
        not_charged=ledger.not_charged,
        host=host_work(found.host_layers or (), ledger.book, found.samples),
        prices=tags,
        basis=weakest((tag.basis for tag in tags), BASES),
        confidence=weakest((tag.confidence for tag in tags), CONFIDENCES),
        proxy=ledger.book.proxy_name if any(tag.source.startswith("PROXY") for tag in tags) else None,
    )


def _counted(
    source: Source | Sequence[Layer], samples: int | None, timesteps: int | None, host: Sequence[Layer] | None
) -> Counted:
    if isinstance(source, Sequence) and not isinstance(source, str):
        if samples is None or timesteps is None:
            raise ValueError("layers alone do not say how many samples and timesteps they were counted over")
        found = Counted(tuple(source), tuple(host or ()), samples, timesteps)
    else:
        found = counted(source)
        given = found.host_layers if host is None else tuple(host)
        found = Counted(found.layers, given, samples or found.samples, timesteps or found.timesteps)
    if found.samples < 1 or found.timesteps < 1:
        raise ValueError(f"samples and timesteps must be at least 1, not {found.samples} and {found.timesteps}")
    return found


class _Ledger:
    """Terms that were priced, that could not be, and that another price holds."""

    def __init__(self, book: PriceBook, samples: int) -> None:
        self.book, self.samples = book, samples
        self.terms: list[Term] = []
        self.unpriced: list[Unpriced] = []
        self.used: dict[str, PriceTag] = {}
        self.not_charged: dict[str, str] = {}

    def charge(self, layer: str, key: str, total: int | None) -> None:
        """``total`` operations over all samples; None: there are some, nobody counted how many."""
        number = None if total is None else total / self.samples
        if number == 0 or self._inside(key):
            return
        tag = self.book.tag(key)
        if tag is None or number is None:
            self.unpriced.append(Unpriced(layer, key, number, _why(self.book, key, tag, number)))
            return
        self.used[key] = tag
        self.terms.append(Term(layer, key, number, tag.times(number)))

    def charge_hops(self, layer: str, hops: tuple[np.ndarray, np.ndarray] | None, messages: int | None) -> None:
        """Each direction at its own price; they are one term ``hop``, under two prices."""
        if hops is None:
            self.charge(layer, "hop", 0 if messages == 0 else None)
            return
        totals = [int(direction.sum()) for direction in hops]
        if sum(totals) == 0 or self._inside("hop"):
            return
        tags = [self.book.tag(key) for key in ("hop_x", "hop_y")]
        energy: Amount = ZERO
        for total, tag in zip(totals, tags, strict=True):
            if total and tag is None:
                self.charge(layer, "hop", sum(totals))
                return
            if total and tag is not None:
                self.used[tag.key] = tag
                energy += tag.times(total / self.samples)
        self.terms.append(Term(layer, "hop", sum(totals) / self.samples, energy))

    def _inside(self, key: str) -> str:
        inside = self.book.inside(key)
        if inside:
            self.not_charged[key] = inside
        return inside


def _why(book: PriceBook, key: str, tag: PriceTag | None, number: float | None) -> str:
    reasons = []
    if tag is None:
        note = book.note(key)
        reasons.append(f"no published price ({note})" if note else "no published price")
    if number is None:
        why = {
            "msg_local": "messages not counted: no placement on cores",
            "hop": "hops not counted: no placement of cores on the mesh",
            MEMORY: "memory accesses not counted",
            OFFCHIP: "messages between chips not counted: no placement of populations on chips",
        }
        reasons.append(why.get(key) or f"{TERMS[key]} not counted")
    return "; ".join(reasons)
