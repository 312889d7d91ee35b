"""The firing rate at which the spiking network stops costing less than the ANN of its topology.

Scale every event of the measured network by k, and hold everything else. What spikes cause (synaptic operations,
spikes, messages, hops, the weights they fetch) grows with k; multiply-accumulates and neuron updates do not::

    E_snn(k) = A + k·B        E_ann = MACs · e_mac        k* = (E_ann − A) / B        rate* = k* · measured rate

Dynamic energy on both sides. The spikes that enter the network are scaled like those inside it. What the host computes
for the spiking network (a first layer on pixels) is charged to it at the ANN's price, so that both pay for that layer.

Exact where the cost is linear in spikes: no graded events (windows of a pool overlap in time), and neuron updates that
cost the same active and idle, or nothing. Otherwise the updates are held at their measured numbers in ``factor``, and
the range spans all updates active to all idle, beside the range of the prices, whose errors on the two sides are taken
as independent: it is the widest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from neurodeploy.energy.baseline import AnnLine
from neurodeploy.energy.counts import Counted
from neurodeploy.energy.model import ZERO, Amount, Estimate, Term
from neurodeploy.energy.terms import MEMORY

Verdict = Literal["below", "always", "never", "unknown"]

#: Terms that grow with the spikes.
_SPIKES = ("sop", "sop_graded", "spike_out", "msg_local", "hop", "offchip_msg")
_UPDATES = ("neuron_active", "neuron_inactive")


@dataclass(frozen=True)
class Crossover:
    """Where the two energies meet.

    Attributes:
        verdict: ``below``: the spiking network wins below ``rate``. ``always``: it costs less even if every neuron
            fires at every step. ``never``: it costs as much without a single spike. ``unknown``: ``note`` says why.
        factor: k*, the events of the measured network times this; None where there is no such number.
        low: Lowest k* that the prices allow; 0: it may never win.
        high: Highest; None: no upper bound.
        rate: Spikes per neuron and timestep at k*.
        spikes_per_neuron: Spikes per neuron and inference at k*.
        measured_rate: The network's own rate.
        exact: Whether the cost is linear in spikes.
        at_most: Something of the spiking network has no price, so it stops winning at k* or before.
        at_least: The ANN's price is a lower bound, so the spiking network wins at k* and perhaps beyond.
        note: What the number assumes.
    """

    verdict: Verdict
    factor: float | None
    low: float | None
    high: float | None
    rate: float | None
    spikes_per_neuron: float | None
    measured_rate: float | None
    exact: bool
    at_most: bool
    at_least: bool
    note: str

    def wins(self) -> bool | None:
        """Whether the measured network costs less; None where the prices that are known do not decide it."""
        if self.verdict in ("always", "never"):
            return self.verdict == "always"
        if self.verdict == "unknown" or self.factor is None:
            return None
        if self.factor <= 1:
            return None if self.at_least else False
        return None if self.at_most else True


def crossover(snn: Estimate, line: AnnLine | Amount, network: Counted) -> Crossover:
    """Compare the dynamic energy of ``snn`` with the ANN's (one line of :func:`ann_baseline`).

    Args:
        snn: Estimate of the measured network.
        line: One line of :func:`ann_baseline`, or an energy per inference; then the host's work is left out. Memory
            that has a price on neither side is left out on both.
        network: The counts that ``snn`` was made from: their neurons and spikes turn k* into a rate.
    """
    ann, host = (line, "") if isinstance(line, Amount) else _without_host(line, snn)
    constant, slope = _split(snn)
    exact, note = _linear(snn)
    missing = sorted({entry.key for entry in snn.unpriced if entry.key != "static"})
    if not isinstance(line, Amount) and line.memory_missing:
        note = "; ".join(
            part for part in (note, "memory is left out on both sides" if MEMORY in missing else "") if part
        )
        missing = [key for key in missing if key != MEMORY]
    missing += [host] if host else []
    at_most, at_least = bool(missing) or snn.dynamic.high_pj is None, ann.high_pj is None
    neurons, spikes = network.spiking_neurons(), network.spikes()
    rate = None if spikes is None or not neurons else spikes / (neurons * snn.timesteps)

    def found(verdict: Verdict, factor: float | None, why: str = "") -> Crossover:
        low, high = _range(_any_updates(snn, constant), slope, ann) if factor is not None else (None, None)
        at = None if factor is None or rate is None else factor * rate
        each = None if at is None else at * snn.timesteps
        notes = "; ".join(part for part in (why, note) if part)
        return Crossover(verdict, factor, low, high, at, each, rate, exact, at_most, at_least, notes)

    if ann.pj < 0 or (not at_least and constant.pj >= ann.pj):
        return found("never", None, "without a single spike it costs as much")
    if slope.pj == 0:
        free = bool(spikes) and not at_most
        return found("always" if free else "unknown", None, "" if free else _no_slope(missing, spikes))
    factor = (ann.pj - constant.pj) / slope.pj
    if at_most and at_least:
        return found("unknown", factor, "both energies are lower bounds")
    if factor <= 0:
        return found("unknown", None, "the ANN's price is a lower bound")
    if rate is not None and factor * rate > 1:
        if at_most:
            return found("unknown", factor, f"it would always win, were it not for {', '.join(missing) or 'its price'}")
        return found("always", factor)
    return found("below", factor, f"without a price: {', '.join(missing)}" if missing else "")


def host_macs(snn: Estimate) -> float | None:
    """Multiply-accumulates of the host per inference, once where the input stands still; None where not counted."""
    if snn.host is None:
        return 0.0
    return snn.host.mac_once or snn.host.mac


def _without_host(line: AnnLine, snn: Estimate) -> tuple[Amount, str]:
    """The ANN's energy less what the host does for the spiking network, and what is missing there."""
    work = host_macs(snn)
    return line.of(line.macs - (work or 0.0)), "" if work is not None else "the host's work"


def _split(snn: Estimate) -> tuple[Amount, Amount]:
    """What does not grow with the spikes, and what does."""
    stays = [term for term in snn.terms if not _grows(term, snn)]
    return _total(stays), _total(term for term in snn.terms if _grows(term, snn))


def _grows(term: Term, snn: Estimate) -> bool:
    if term.key == MEMORY:  # weights that spikes fetch; not those of a multiply-accumulate, nor states
        keys = {key for layer, key in _charged(snn) if layer == term.layer}
        return not keys & {"mac", *_UPDATES}
    return term.key in _SPIKES


def _charged(snn: Estimate) -> list[tuple[str, str]]:
    """Layer and term of everything that costs something, with or without a price."""
    return [(t.layer, t.key) for t in snn.terms] + [(u.layer, u.key) for u in snn.unpriced]


def _total(terms: Iterable[Term]) -> Amount:
    return sum((term.energy for term in terms), ZERO)


def _linear(snn: Estimate) -> tuple[bool, str]:
    keys = {key for _, key in _charged(snn)}
    notes = []
    if "sop_graded" in keys:
        notes.append("graded events are scaled with the spikes, though several spikes may meet in one")
    prices = {(tag.value, tag.low, tag.high) for tag in snn.prices if tag.key in _UPDATES}
    charged = keys & set(_UPDATES)
    if charged and (len(charged) < 2 or len(prices) > 1 or MEMORY in keys):
        notes.append("neuron updates are held at the measured numbers")
    return not notes, "; ".join(notes)


def _any_updates(snn: Estimate, constant: Amount) -> Amount:
    """``constant`` with a range that holds for any split of the updates into active and idle."""
    tags = [tag for tag in snn.prices if tag.key in _UPDATES]
    if len(tags) < 2:
        return constant
    held = [term for term in snn.terms if not _grows(term, snn) and term.key not in _UPDATES]
    updates = sum(term.count for term in snn.terms if term.key in _UPDATES)
    rest, highs = _total(held), [tag.high for tag in tags]
    high = None
    if rest.high_pj is not None and None not in highs:
        high = rest.high_pj + updates * max(h for h in highs if h is not None)
    return Amount(constant.pj, rest.low_pj + updates * min(tag.low for tag in tags), high)


def _range(constant: Amount, slope: Amount, ann: Amount) -> tuple[float, float | None]:
    low = 0.0
    if constant.high_pj is not None and slope.high_pj:
        low = max(0.0, (ann.low_pj - constant.high_pj) / slope.high_pj)
    high = None
    if ann.high_pj is not None and slope.low_pj:
        high = max(0.0, (ann.high_pj - constant.low_pj) / slope.low_pj)
    return low, high


def _no_slope(missing: list[str], spikes: float | None) -> str:
    if missing:
        return f"no published price: {', '.join(missing)}"
    return "spikes were not counted" if spikes is None else "no spike was counted: their cost cannot be scaled"
