"""The pictures of a report, each one or several narrow panels, so that a phone shows them at full size."""

from __future__ import annotations

from neurodeploy.reporting.figures.accuracy import accuracy, trade
from neurodeploy.reporting.figures.base import Figure
from neurodeploy.reporting.figures.curves import curves
from neurodeploy.reporting.figures.energy import TERM_NAMES, energy, energy_text
from neurodeploy.reporting.figures.features import features
from neurodeploy.reporting.figures.layers import layer_energy, operations, quantization
from neurodeploy.reporting.figures.potentials import firing, membranes
from neurodeploy.reporting.model import Report

__all__ = ["TERM_NAMES", "Figure", "energy_text", "figures"]

_FIGURES = (
    accuracy,
    trade,
    operations,
    energy,
    layer_energy,
    membranes,
    quantization,
    firing,
    features,
    curves,
)


def figures(report: Report) -> dict[str, Figure]:
    """Every figure for which the report has data, by name."""
    made = [make(report) for make in _FIGURES]
    return {figure.name: figure for figure in made if figure.panels}
