"""The report as data: what the terminal table, the HTML page and the JSON all show.

The first group is the baseline that the others are compared with; ``build.py`` beside this file makes a
:class:`Report` from collected groups. ``report.schema.json`` is the schema of ``Report.to_json()``; a test keeps the
two together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from neurodeploy.energy import Amount, Crossover, HostWork, PriceTag, Static
from neurodeploy.reporting.features import Features
from neurodeploy.reporting.fits import Fit
from neurodeploy.reporting.statistics import Difference, Paired, Statistic

#: Version of the report's JSON; raised when a key is renamed or changes its meaning.
SCHEMA_VERSION = 1

#: The columns of metrics.jsonl that are drawn as training curves.
CURVES = ("test_accuracy", "train_loss", "quantization_error", "firing_rate")


#: Kinds of nodes that fire. (An integrator is a readout: it never does.)
FIRING = ("lif",)


@dataclass(frozen=True)
class Change:
    """One recipe key that differs from the baseline; None where the key is absent."""

    key: str
    baseline: Any
    value: Any


@dataclass(frozen=True)
class Histogram:
    """Membrane potential before reset, counts summed over seeds, in equal bins from ``low`` to ``high``."""

    low: float
    high: float
    counts: tuple[int, ...]
    below: int
    above: int


@dataclass(frozen=True)
class TrainedLayer:
    """A hidden neuron layer as training measured it on the test set, in float."""

    name: str
    quantization_error: Statistic | None
    firing_rate: Statistic | None
    firing_rate_per_timestep: tuple[float, ...]
    membrane: Histogram | None


@dataclass(frozen=True)
class ChipLayer:
    """A node of the emitted graph: counts per inference, and for neurons the rate at each timestep."""

    name: str
    kind: str
    size: int
    on_host: bool
    counts: dict[str, Statistic | None]
    firing_rate: Statistic | None
    firing_rate_per_timestep: tuple[float, ...]


@dataclass(frozen=True)
class Curve:
    """A metric over epochs: mean, lowest and highest over seeds."""

    metric: str
    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class EnergyFigure:
    """Energy per inference: nominal over seeds, range of the prices, and whether it is a lower bound (``≥``)."""

    pj: Statistic
    low_pj: float
    high_pj: float | None
    at_least: bool


@dataclass(frozen=True)
class EnergyTerm:
    """One priced term, mean over seeds: events per inference and their energy."""

    key: str
    count: float
    energy: Amount


@dataclass(frozen=True)
class AnnReport:
    """The ANN of a group's topology at one price, beside the group's dynamic energy on a chip.

    Attributes:
        profile: Chip of the price; ``name`` in words.
        macs: Multiply-accumulates per inference.
        energy: The ANN's, per inference.
        price: Of a multiply-accumulate.
        memory: Of the access that fetches its weight, where that is priced apart; ``energy`` holds it.
        ratio: The group's nominal dynamic energy over it, the host's part charged at the ANN's price; None where
            nothing of the group is priced.
        crossover: The firing rate below which the group costs less.
        marks: Why the two energies stand on different bases; empty on one chip.
    """

    profile: str
    name: str
    macs: int
    energy: Amount
    price: PriceTag
    memory: PriceTag | None
    ratio: float | None
    crossover: Crossover
    marks: tuple[str, ...]


@dataclass(frozen=True)
class EnergyReport:
    """Energy of one group on one profile.

    ``layers``: layer -> term -> pJ, mean over seeds; ``layer_totals`` are their sums with the range of the prices.
    ``unpriced`` and ``not_charged``: term -> reason. ``ann``: the ANN of the same topology, on this chip and on the
    conventional lines.
    """

    profile: str
    name: str
    scope: str
    operating_point: str
    dynamic: EnergyFigure
    static: Static | None
    static_note: str
    total: EnergyFigure
    terms: tuple[EnergyTerm, ...]
    layers: dict[str, dict[str, float]]
    layer_totals: dict[str, Amount]
    unpriced: dict[str, str]
    not_charged: dict[str, str]
    host: HostWork | None
    prices: tuple[PriceTag, ...]
    basis: str | None
    confidence: str | None
    proxy: str | None
    ann: tuple[AnnReport, ...]


@dataclass(frozen=True)
class RunReport:
    """One run of a group. ``best_accuracy`` was chosen on the test set: a side note, never the result."""

    name: str
    path: str
    seed: int
    git_commit: str | None
    accuracy_float: float
    accuracy_chip: float | None
    quantization_error: float | None
    firing_rate: float | None
    best_accuracy: float | None
    best_epoch: int | None


@dataclass(frozen=True)
class Resources:
    """What the network takes on the target; None where the target does not say."""

    neurons: int | None
    synapses: int | None
    synaptic_memory_bytes: int | None
    cores: int | None
    chips: int | None


@dataclass(frozen=True)
class Place:
    """What one layer takes on the target; ``limited_by`` is what its number of cores comes from. None: not said."""

    name: str
    neurons: int | None
    synapses: int | None
    synaptic_memory_bytes: int | None
    cores: int | None
    limited_by: str | None


@dataclass(frozen=True)
class GroupReport:
    """All runs of one recipe.

    ``not_exported`` is why there are no figures of the target (code and reason): ``accuracy_chip``, all ``counts`` and
    ``resources`` are None then, ``chip_layers``, ``energy`` and ``places`` are empty. ``conversion``: the accuracy on
    the target less the float one. ``features`` and ``fits`` (every chip that we know) are those of the first run. An
    ANN has no ``quantization_error``, ``firing_rate`` and ``trained_layers``.
    """

    name: str
    label: str
    method: str
    not_exported: str | None
    changes: tuple[Change, ...]
    runs: tuple[RunReport, ...]
    accuracy_float: Statistic
    accuracy_chip: Statistic | None
    conversion: Statistic | None
    quantization_error: Statistic | None
    firing_rate: Statistic | None
    counts: dict[str, Statistic | None]
    trained_layers: tuple[TrainedLayer, ...]
    chip_layers: tuple[ChipLayer, ...]
    curves: tuple[Curve, ...]
    energy: tuple[EnergyReport, ...]
    resources: Resources
    places: tuple[Place, ...]
    fits: tuple[Fit, ...]
    features: Features | None
    purity: str
    violations: tuple[str, ...]
    findings: tuple[dict[str, Any], ...]
    v_threshold: float
    recipe: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """One metric of a group against the baseline. ``unit``: fraction, pJ, 1 (a plain number).

    ``p_corrected``: Holm's, over all groups of this metric; None with one other group or without a p value. ``paired``:
    the test over samples, of the accuracy on the target alone.
    """

    metric: str
    title: str
    unit: str
    group: str
    baseline: str
    baseline_value: Statistic
    group_value: Statistic
    at_least: bool
    higher_is_better: bool
    difference: Difference
    p_corrected: float | None = None
    paired: Paired | None = None


@dataclass(frozen=True)
class PublishedRow:
    """A group beside the figure of a paper that its recipe stands for. Accuracies are shares, ours of the last epoch.

    Attributes:
        group: Label of the group.
        recipe: Shipped recipe that the runs were started from; None where the manifest does not say.
        source: Paper and table.
        accuracy: Ours.
        published_accuracy: The paper's.
        published_std: The paper's, where it gives one.
        published_seeds: Trials behind the paper's figure, where it says.
        difference: Ours less the paper's.
        quantization_error: Ours; None for an ANN.
        published_quantization_error: The paper's, where it gives one.
        changes: Keys in which the runs' recipe differs from the shipped one (``baseline``); None where none of that
            name ships.
        data_note: What the dataset's reader says of the copy and the split.
        note: What the paper leaves open.
    """

    group: str
    recipe: str | None
    source: str
    accuracy: Statistic
    published_accuracy: float
    published_std: float | None
    published_seeds: int | None
    difference: float
    quantization_error: Statistic | None
    published_quantization_error: float | None
    changes: tuple[Change, ...] | None
    data_note: str
    note: str


@dataclass(frozen=True)
class Report:
    """Groups of runs side by side on one target. The first group is the baseline."""

    schema_version: int
    created: str
    version: str
    target: str
    arithmetic: str
    dataset: str
    data_sha256: str
    samples: int
    timesteps: tuple[int, ...]
    profiles: tuple[str, ...]
    title: str
    headline: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    published: tuple[PublishedRow, ...]
    groups: tuple[GroupReport, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values; see ``report.schema.json``."""
        return asdict(self)


def report_schema() -> dict[str, Any]:
    """JSON schema of ``Report.to_json()``; its text is kept in ``report.schema.json``."""
    from pydantic import TypeAdapter

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"neurodeploy.report/{SCHEMA_VERSION}",
        **TypeAdapter(Report).json_schema(mode="serialization"),
    }
