"""Our figure beside the published one, and everything we know to differ between the two.

The paper's settings are those of the shipped recipe that the run was started from (``manifest["recipe"]``): a key that
the run's own recipe has otherwise differs from the paper, as far as the shipped recipe is the paper's.
"""

from __future__ import annotations

from typing import Any

from neurodeploy.reporting.collect import GroupData, RunData
from neurodeploy.reporting.model import Change, PublishedRow
from neurodeploy.reporting.statistics import statistic


def published_row(group: GroupData, label: str) -> PublishedRow | None:
    """The row of a group; None where its recipe stands for no published figure."""
    first = group.runs[0]
    figure = first.recipe.published
    if figure is None:
        return None
    accuracy = statistic(run.evaluation.accuracy for run in group.runs)
    assert accuracy is not None
    paper = figure.accuracy / 100
    return PublishedRow(
        group=label,
        recipe=recipe_name(first),
        source=figure.source,
        accuracy=accuracy,
        published_accuracy=paper,
        published_std=None if figure.std is None else figure.std / 100,
        published_seeds=figure.seeds,
        difference=accuracy.mean - paper,
        quantization_error=statistic(run.evaluation.quantization_error for run in group.runs),
        published_quantization_error=figure.quantization_error,
        changes=changes_from_shipped(first),
        data_note=str(first.manifest.get("data_note") or ""),
        note=figure.note,
    )


def recipe_name(run: RunData) -> str | None:
    """The recipe that was named to ``train``, as the manifest says."""
    name = run.manifest.get("recipe")
    return name if isinstance(name, str) else None


def changes_from_shipped(run: RunData) -> tuple[Change, ...] | None:
    """Keys in which a run's recipe differs from the shipped one of its name; None where there is none of that name."""
    from neurodeploy.config.recipe import load_recipe, recipe_names

    name = recipe_name(run)
    if name is None or name not in recipe_names():
        return None
    shipped = load_recipe(name)
    return tuple(Change(key, there, here) for key, there, here in shipped.diff(run.recipe) if key != "seed")


def differences(row: PublishedRow) -> list[tuple[str, Any, Any]]:
    """``(what, the paper's, ours)`` for every recipe key and for the number of seeds, where they differ."""
    if row.changes is None:
        found: list[tuple[str, Any, Any]] = [("recipe", None, "of its own: its keys are not compared")]
    else:
        found = [(change.key, change.baseline, change.value) for change in row.changes]
    if row.published_seeds not in (None, row.accuracy.n):
        found.append(("seeds", row.published_seeds, row.accuracy.n))
    return found
