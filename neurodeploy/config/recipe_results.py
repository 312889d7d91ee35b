"""What our own runs of the shipped recipes gave: one small JSON file each, ``models/results/<dataset>/<name>.json``.

``benchmarks/record_results.py`` writes them from finished runs; ``neurodeploy list models`` shows them, and "not run"
for every other recipe. No torch.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA: Final = "neurodeploy.recipe-result/1"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False)


class Spread(_Part):
    """Mean over seeds and sample standard deviation; ``std`` is None with one seed."""

    mean: float
    std: float | None


class RecipeResult(_Part):
    """The runs of one recipe.

    Attributes:
        kind: The file's format.
        recipe: Name of the shipped recipe.
        changed: Keys in which the runs' recipe differs from the shipped one, with the runs' values (None: absent).
        seeds: Of the runs, in order.
        epochs: That were trained; the figures are those of the last.
        accuracy: Share of the test samples.
        quantization_error: None for an ANN.
        firing_rate: None for an ANN.
        samples: Test samples.
        data: Dataset as trained on: name and what its reader says of the copy and the split.
        data_sha256: Of the test samples.
        commit: Of neurodeploy, None where it was not a checkout.
        command: What was typed.
    """

    kind: Literal["neurodeploy.recipe-result/1"] = Field(default=SCHEMA, alias="schema")
    recipe: str
    changed: dict[str, Any]
    seeds: tuple[int, ...] = Field(min_length=1)
    epochs: int
    accuracy: Spread
    quantization_error: Spread | None
    firing_rate: Spread | None
    samples: int
    data: str
    data_sha256: str | None
    commit: str | None
    command: str

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return self.model_dump(by_alias=True, mode="json")


def recipe_results() -> dict[str, RecipeResult]:
    """Recipe name -> what was recorded for it."""
    home = resources.files("neurodeploy.shipped.models") / "results"
    if not home.is_dir():
        return {}
    files = [
        entry
        for folder in home.iterdir()
        if folder.is_dir()
        for entry in folder.iterdir()
        if entry.name.endswith(".json")
    ]
    found = [RecipeResult.model_validate_json(entry.read_text(encoding="utf-8")) for entry in files]
    return {result.recipe: result for result in sorted(found, key=lambda result: result.recipe)}
