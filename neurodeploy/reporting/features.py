"""What the classifier sees (EnOF-SNN Fig. 2): output features of test samples, in their two principal components.

The output feature of a sample is what enters the last weights, averaged over timesteps: ``f = (1/T) Σ_t x[t]``; spikes,
or the real values behind RepAct's ReLU. It is taken from the exported files, by a run that stops there. The paper draws
t-SNE of 2,000 samples; principal components are drawn here instead, because they are linear, hold no random start and
say how much of the features they show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import SYNAPSES, Output

#: Samples that are drawn: the first of the test split.
SAMPLES = 1000


@dataclass(frozen=True)
class Features:
    """Output features of one network in two dimensions.

    Attributes:
        samples: The first of the test split.
        dimensions: Length of a feature.
        explained: Share of the variance along the two components that are drawn.
        between_classes: Share of the whole variance, in all dimensions, that lies between the means of the classes.
            1: every class is a point; 0: classes have one mean.
        x: Along the first component, one for each sample, three significant digits.
        y: Along the second.
        labels: Class of each sample.
    """

    samples: int
    dimensions: int
    explained: tuple[float, float]
    between_classes: float
    x: tuple[float, ...]
    y: tuple[float, ...]
    labels: tuple[int, ...]


def output_features(artifact: Path, x: np.ndarray) -> np.ndarray | None:
    """``(B, D)`` float64: what enters the artifact's last weights, mean over timesteps; None where nothing does."""
    from neurodeploy.sim import simulate
    from neurodeploy.targets.artifact import load_runnable

    whole = load_runnable(artifact)
    if whole.tail is not None and (tail := up_to_last_weights(whole.tail)) is not None:
        trace = simulate(replace(whole, tail=tail), x)
        values = trace.host_output
    else:
        graph = up_to_last_weights(whole.graph)
        if graph is None:
            return None
        values = simulate(replace(whole, graph=graph, tail=None), x).output
    assert values is not None
    return values.astype(np.float64).mean(axis=1).reshape(len(values), -1)


def up_to_last_weights(graph: Graph) -> Graph | None:
    """The part of ``graph`` in front of its last weights; None where these read its Input, or there are none.

    The last weights are those nearest to the Output, on the way back through nodes with one source.
    """
    name = graph.output
    while not isinstance(graph.nodes[name], SYNAPSES):
        sources = graph.sources(name)
        if len(sources) != 1 or sources[0] == graph.input:
            return None
        name = sources[0]
    sources = graph.sources(name)
    if len(sources) != 1 or sources[0] == graph.input:
        return None
    needed = {sources[0]}
    waiting = [sources[0]]
    while waiting:
        for source in graph.sources(waiting.pop()):
            if source not in needed:
                needed.add(source)
                waiting.append(source)
    if graph.input not in needed:
        return None
    nodes = {n: node for n, node in graph.nodes.items() if n in needed}
    nodes[graph.output] = Output()
    edges = [edge for edge in graph.edges if edge[0] in needed and edge[1] in needed]
    scales = {n: scale for n, scale in graph.scales.items() if n in needed}
    return replace(graph, nodes=nodes, edges=(*edges, (sources[0], graph.output)), scales=scales)


def principal(features: np.ndarray, labels: Sequence[int] | np.ndarray) -> Features:
    """The two principal components of ``(B, D)`` features.

    A component points to where its largest weight (the first of equals) is positive, so the picture is the same every
    time.
    """
    labels = np.asarray(labels, np.int64)
    centered = features - features.mean(axis=0)
    _, singular, components = np.linalg.svd(centered, full_matrices=False)
    variance = float((centered**2).sum())
    signs = [1.0 if row[np.argmax(np.abs(row))] >= 0 else -1.0 for row in components[:2]]
    drawn = centered @ (components[:2] * np.array(signs)[:, None]).T
    drawn = np.pad(drawn, ((0, 0), (0, 2 - drawn.shape[1])))
    shares = [float(s**2) / variance if variance else 0.0 for s in [*singular[:2], 0.0, 0.0][:2]]
    between = sum(
        (labels == label).sum() * float((centered[labels == label].mean(axis=0) ** 2).sum())
        for label in np.unique(labels)
    )
    return Features(
        samples=len(labels),
        dimensions=features.shape[1],
        explained=(shares[0], shares[1]),
        between_classes=between / variance if variance else 0.0,
        x=tuple(float(f"{v:.3g}") for v in drawn[:, 0]),
        y=tuple(float(f"{v:.3g}") for v in drawn[:, 1]),
        labels=tuple(int(label) for label in labels),
    )


def from_json(kept: Any) -> Features | None:
    """What :func:`dataclasses.asdict` gave; None where it is something else."""
    try:
        first, second = kept["explained"]
        x, y = (tuple(float(v) for v in kept[key]) for key in ("x", "y"))
        labels = tuple(int(label) for label in kept["labels"])
        made = Features(
            int(kept["samples"]),
            int(kept["dimensions"]),
            (float(first), float(second)),
            float(kept["between_classes"]),
            x,
            y,
            labels,
        )
    except (KeyError, TypeError, ValueError):
        return None
    return made if len(x) == len(y) == len(labels) == made.samples else None
