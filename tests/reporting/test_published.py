"""Ours beside the published figure, and what is said to differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_runs import SAMPLES, make_group, make_run

from neurodeploy.config.recipe import load_recipe
from neurodeploy.config.recipe_results import RecipeResult
from neurodeploy.diagnostics import UsageError
from neurodeploy.reporting import published, report
from neurodeploy.reporting.html import page
from neurodeploy.reporting.model import Change
from neurodeploy.reporting.plain import csv_files, markdown
from neurodeploy.reporting.published import differences
from neurodeploy.reporting.record import recipe_result, write_result
from neurodeploy.reporting.text import report_text

#: As the table of ``cifar10/resnet20-rmp``.
FIGURE = [
    'published.source="RMP-Loss, Tables 1 and 2"',
    "published.accuracy=91.89",
    "published.std=0.05",
    "published.quantization_error=0.121",
    "published.seeds=3",
]


def test_a_run_stands_beside_its_figure(tmp_path: Path, calls: dict[str, int]) -> None:
    made = report(
        make_group(tmp_path / "d-vanilla", seeds=2),
        make_group(tmp_path / "d-rmp", method="rmp", seeds=2, overrides=[*FIGURE, "train.epochs=6", "train.lr=0.2"]),
    )
    (row,) = made.published
    assert (row.group, row.recipe, row.source) == ("rmp", "digits/conv-rmp", "RMP-Loss, Tables 1 and 2")
    ours = (354 + 356) / 2 / SAMPLES
    assert row.accuracy.mean == pytest.approx(ours)
    assert (row.published_accuracy, row.published_std) == (pytest.approx(0.9189), pytest.approx(0.0005))
    assert row.difference == pytest.approx(ours - 0.9189)
    assert row.published_quantization_error == 0.121
    assert row.changes == (Change("train.epochs", 12, 6), Change("train.lr", 0.3, 0.2))
    assert differences(row) == [("train.epochs", 12, 6), ("train.lr", 0.3, 0.2), ("seeds", 3, 2)]
    assert "| rmp | train.lr | 0.3 | 0.2 |" in markdown(made)
    assert made.to_json()["published"][0]["group"] == "rmp"


def test_every_form_shows_it(tmp_path: Path, calls: dict[str, int]) -> None:
    made = report(make_group(tmp_path / "d-rmp", method="rmp", seeds=1, overrides=FIGURE))
    # 354 of 360 test samples are 98.33 %, 6.44 points above.
    words = ("98.33 %", "91.89 ± 0.05 %", "+6.44 points", "0.121", "RMP-Loss")
    for text in (report_text(made), page(made), markdown(made), csv_files(made)["published.csv"]):
        squeezed = " ".join(text.split())
        assert [word for word in words if word not in squeezed] == []
    assert "Ours is the last epoch" in report_text(made)
    assert "Our data: scikit-learn load_digits" in markdown(made)


def test_nothing_differs_is_said_too(tmp_path: Path, calls: dict[str, int]) -> None:
    made = report(make_group(tmp_path / "d-rmp", method="rmp", seeds=3, overrides=FIGURE))
    assert differences(made.published[0]) == []
    assert "nothing in the recipe" in markdown(made)


def test_another_data_copy_is_a_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run of ``cifar10/resnet20-rmp`` with ``--set data.name=cifar10-jpeg``."""
    run = make_run(tmp_path / "r", method="rmp", recipe_name="cifar10/resnet20-rmp")
    recipe = load_recipe("cifar10/resnet20-rmp", ["data.name=cifar10-jpeg", "train.epochs=40"])
    (run / "recipe.toml").write_text(recipe.to_toml())
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"data_note": "CIFAR-10 (JPEG q75)"}))
    row = published.published_row(published_group(run), "rmp")
    assert row is not None
    assert differences(row) == [
        ("data.name", "cifar10", "cifar10-jpeg"), ("train.epochs", 400, 40), ("seeds", 3, 1),
    ]  # fmt: skip
    assert row.data_note == "CIFAR-10 (JPEG q75)"


def published_group(run: Path):
    from neurodeploy.reporting.collect import read_group

    return read_group(run)


@pytest.mark.parametrize("name", ["./my.toml", "gone/resnet20-rmp", 3, None])
def test_a_recipe_that_does_not_ship_is_not_compared(tmp_path: Path, calls: dict[str, int], name: object) -> None:
    run = make_run(tmp_path / "r", overrides=FIGURE)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"recipe": name}))
    (row,) = report(run).published
    assert row.changes is None
    assert differences(row)[0] == ("recipe", None, "of its own: its keys are not compared")


def test_without_figures_there_is_no_table(tmp_path: Path, calls: dict[str, int]) -> None:
    made = report(make_run(tmp_path / "r"))
    assert made.published == ()
    assert "Ours beside the published figure" not in report_text(made)


def test_a_result_is_recorded(tmp_path: Path) -> None:
    group = make_group(tmp_path / "runs" / "g", method="rmp", overrides=["train.epochs=6"])
    result = recipe_result(group)
    path = write_result(result, tmp_path / "results")
    assert path == tmp_path / "results" / "digits" / "conv-rmp.json"
    assert RecipeResult.model_validate_json(path.read_text()) == result
    kept = json.loads(path.read_text())
    assert kept["schema"] == "neurodeploy.recipe-result/1"
    assert (kept["recipe"], kept["seeds"], kept["epochs"]) == ("digits/conv-rmp", [0, 1, 2], 6)
    assert kept["changed"] == {"train.epochs": 6}
    assert kept["accuracy"]["mean"] == pytest.approx((354 + 356 + 353) / 3 / SAMPLES)
    assert kept["data"].startswith("digits: scikit-learn load_digits")
    assert kept["commit"] == "fedcba9876543210"
    assert kept["command"] == "neurodeploy train digits/conv-rmp --seeds 0,1,2"


def test_an_ann_is_recorded_without_spikes(tmp_path: Path) -> None:
    result = recipe_result(make_run(tmp_path / "r", method="ann"))
    assert (result.quantization_error, result.firing_rate, result.accuracy.std) == (None, None, None)


def test_a_run_of_no_shipped_recipe_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        recipe_result(make_run(tmp_path / "r", recipe_name="./my.toml"))
    assert caught.value.code == "ND101"
