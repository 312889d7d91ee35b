"""The ANN of the same topology: every connection is one multiply-accumulate, once per inference, not once a step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from neurodeploy.config.profile import BASES, CONFIDENCES, Price, Profile, load_profile
from neurodeploy.energy.model import Amount, PriceTag
from neurodeploy.energy.prices import PriceBook, weakest
from neurodeploy.energy.terms import MEMORY
from neurodeploy.ir.graph import Graph
from neurodeploy.passes.dense_macs import DenseMacs, dense_macs


@dataclass(frozen=True)
class AnnLine:
    """The ANN's energy at one price of a multiply-accumulate.

    Attributes:
        label: ``mac``, the chip's own; or an operand type (``fp32``), arithmetic alone.
        macs: Multiply-accumulates per inference.
        price: Of a multiply-accumulate.
        memory: Of the access that fetches its weight, where the profile prices that apart.
        memory_missing: Nobody priced that access, and no price holds it: it is left out.
    """

    label: str
    macs: int
    price: PriceTag
    memory: PriceTag | None
    memory_missing: bool

    @property
    def energy(self) -> Amount:
        """``macs · (price + memory)``."""
        return self.of(self.macs)

    def of(self, macs: float) -> Amount:
        """The energy of another number of them."""
        return self.price.times(macs) if self.memory is None else self.price.times(macs) + self.memory.times(macs)


@dataclass(frozen=True)
class AnnBaseline:
    """The ANN on one chip: a line per price of a multiply-accumulate.

    ``lines`` is empty where the profile has no such price, or the network has no ANN of its topology: ``unpriced``.
    ``note`` says what is in no line.
    """

    profile: str
    name: str
    scope: str
    macs: DenseMacs
    lines: tuple[AnnLine, ...]
    unpriced: str = ""
    note: str = "layers alone: no biases, activations, pools, residual additions or static power"

    def line(self) -> AnnLine | None:
        """The chip's own line."""
        return next((line for line in self.lines if line.label == "mac"), None)


def ann_baseline(
    network: Graph | Iterable[Graph] | DenseMacs, profile: Profile | str | Path, *, allow_proxy: bool = False
) -> AnnBaseline:
    """``E = MACs · e_mac``, once, for each price of a multiply-accumulate that ``profile`` has.

    The chip's own ``mac`` first. Where the profile prices memory apart, every multiply-accumulate fetches its weight
    with one access, by the rule that the spiking network's operations are charged by. Then arithmetic alone per operand
    type of the ``[precision]`` table, ``mult_<type> + add_<type>`` (4.6 pJ for fp32 and 0.23 pJ for int8 at 45 nm,
    Horowitz 2014).
    """
    macs = network if isinstance(network, DenseMacs) else dense_macs(network)
    loaded = profile if isinstance(profile, Profile) else load_profile(profile)
    book = PriceBook(loaded, allow_proxy)
    tag = book.tag("mac")
    lines = [] if tag is None else [_line(tag, book, macs.total)]
    lines += [AnnLine(label, macs.total, t, None, True) for label, t in _precisions(loaded)]
    unpriced = ""
    if macs.recurrent:
        unpriced = "the network is recurrent: no ANN of its topology runs once"
    elif not lines:
        note = book.note("mac")
        unpriced = "no published price of a multiply-accumulate" + (f" ({note})" if note else "")
    return AnnBaseline(
        loaded.chip.id, loaded.chip.name, loaded.energy.scope, macs, () if unpriced else tuple(lines), unpriced
    )


def _line(tag: PriceTag, book: PriceBook, macs: int) -> AnnLine:
    memory = None if book.inside(MEMORY) else book.tag(MEMORY)
    return AnnLine("mac", macs, tag, memory, memory is None and not book.inside(MEMORY))


def _precisions(profile: Profile) -> Iterable[tuple[str, PriceTag]]:
    for key, multiply in profile.precision.items():
        kind = key.removeprefix("mult_")
        add = profile.precision.get(f"add_{kind}")
        if key.startswith("mult_") and multiply.known and add is not None and add.known:
            yield kind, _sum(f"mac_{kind}", multiply, add)


def _sum(key: str, multiply: Price, add: Price) -> PriceTag:
    amounts = [multiply.amounts(), add.amounts()]
    highs = [high for _, _, high in amounts]
    return PriceTag(
        key=key,
        value=sum(value for value, _, _ in amounts),
        low=sum(low for _, low, _ in amounts),
        high=None if None in highs else sum(high for high in highs if high is not None),
        unit="pJ",
        basis=weakest((multiply.basis, add.basis, "derived"), BASES) or "derived",
        confidence=weakest((multiply.confidence, add.confidence), CONFIDENCES) or "low",
        source=f"multiply: {multiply.source}; add: {add.source}",
        note="a multiply and an add of the same type; no memory",
    )
