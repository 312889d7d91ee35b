"""From finished runs to the small file that says what a shipped recipe gave; see ``config/recipe_results.py``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from neurodeploy.config.recipe_results import RecipeResult, Spread
from neurodeploy.diagnostics import UsageError
from neurodeploy.files import write_json
from neurodeploy.reporting.collect import RunData, read_group
from neurodeploy.reporting.comparable import refuse_other_test_sets
from neurodeploy.reporting.published import changes_from_shipped, recipe_name
from neurodeploy.reporting.statistics import statistic


def recipe_result(run: str | Path) -> RecipeResult:
    """What a run, or a folder of seeds, gave: figures of the last epoch, mean and standard deviation over seeds.

    Raises:
        UsageError: ND101 for runs of a recipe that does not ship; ND103, ND107, ND113 as ``report``.
    """
    group = read_group(run)
    first = group.runs[0]
    refuse_other_test_sets([group])
    changes, name = changes_from_shipped(first), recipe_name(first)
    if changes is None or name is None:
        what = f"the run's recipe does not ship: {name}"
        raise UsageError("ND101", what, where=str(group.path), fix="`neurodeploy list models` prints those that do")
    evaluations = [one.evaluation for one in group.runs]
    accuracy = _spread(evaluation.accuracy for evaluation in evaluations)
    assert accuracy is not None
    note = first.manifest.get("data_note")
    return RecipeResult(
        recipe=name,
        changed={change.key: change.value for change in changes},
        seeds=tuple(one.recipe.seed for one in group.runs),
        epochs=len(first.metrics),
        accuracy=accuracy,
        quantization_error=_spread(evaluation.quantization_error for evaluation in evaluations),
        firing_rate=_spread(evaluation.firing_rate for evaluation in evaluations),
        samples=first.evaluation.samples,
        data=first.recipe.data.name + (f": {note}" if note else ""),
        data_sha256=first.data_sha256 or None,
        commit=first.manifest.get("neurodeploy_commit"),
        command=_command(first),
    )


def write_result(result: RecipeResult, folder: Path) -> Path:
    """Write ``<folder>/<dataset>/<name>.json`` and say where."""
    path = folder / f"{result.recipe}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result.to_json())
    return path


def _spread(values: Iterable[float | None]) -> Spread | None:
    found = statistic(values)
    return None if found is None else Spread(mean=found.mean, std=found.std)


def _command(run: RunData) -> str:
    """What was typed, without the folders in front of the program's name."""
    words = [str(word) for word in run.manifest.get("argv", [])]
    return shlex.join([Path(words[0]).name, *words[1:]]) if words else ""
