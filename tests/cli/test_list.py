"""``neurodeploy list``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neurodeploy.cli import run
from neurodeploy.config import recipe_results
from neurodeploy.config.profile import load_profile, profile_names
from neurodeploy.config.recipe import known_keys, load_recipe
from neurodeploy.config.recipe_results import RecipeResult, Spread


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("models", "digits/conv-rmp"),
        ("targets", "loihi2"),
        ("profiles", "truenorth"),
        ("datasets", "digits"),
        ("passes", "fold_norm"),
    ],
)
def test_lists(what: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", what]) == 0
    assert name in capsys.readouterr().out
    assert run(["list", what, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert result["what"] == what
    assert name in [item["name"] for item in result["items"]]


def models(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    assert run(["list", "models", "--json"]) == 0
    return {item["name"]: item for item in json.loads(capsys.readouterr().out)["result"]["items"]}


def result(**changes: Any) -> RecipeResult:
    values: dict[str, Any] = {
        "recipe": "cifar10/resnet20-rmp", "changed": {}, "seeds": (0, 1, 2), "epochs": 400,
        "accuracy": Spread(mean=0.9201, std=0.0014), "quantization_error": Spread(mean=0.12, std=None),
        "firing_rate": None, "samples": 10_000, "data": "cifar10", "data_sha256": None, "commit": None, "command": "",
    }  # fmt: skip
    return RecipeResult(**(values | changes))


def test_models_with_the_published_figure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(recipe_results, "recipe_results", dict)
    items = models(capsys)
    rmp = items["cifar10/resnet20-rmp"]
    assert (rmp["dataset"], rmp["net"], rmp["T"], rmp["method"]) == ("cifar10", "resnet20", 4, "rmp")
    assert rmp["published"] == "91.89 ± 0.05 % (n = 3)"
    assert rmp["published_figure"]["quantization_error"] == 0.121
    assert (rmp["ours"], rmp["result"]) == ("not run", None)
    assert items["cifar10/resnet20-vanilla"]["published"] == "91.26 %"
    assert items["cifar10/resnet20-laf-repact-t1"]["method"] == "laf+repact"
    assert (items["cifar10/resnet20-ann"]["method"], items["cifar10/resnet20-ann"]["published"]) == ("ann", None)


def test_models_with_our_figure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ours = [
        result(),
        result(
            recipe="cifar10/resnet20-vanilla",
            changed={"data.name": "cifar10-jpeg", "train.epochs": 40},
            seeds=(0,),
            accuracy=Spread(mean=0.9, std=None),
        ),
    ]
    monkeypatch.setattr(recipe_results, "recipe_results", lambda: {one.recipe: one for one in ours})
    items = models(capsys)
    assert items["cifar10/resnet20-rmp"]["ours"] == "92.01 ± 0.14 % (n = 3)"
    assert items["cifar10/resnet20-vanilla"]["ours"] == "90.00 % (n = 1; data.name cifar10-jpeg, train.epochs 40)"
    assert items["cifar10/resnet19-rmp"]["ours"] == "not run"
    assert run(["list", "models"]) == 0
    assert "92.01 ± 0.14 % (n = 3)" in capsys.readouterr().out


def test_recorded_results_are_of_shipped_recipes() -> None:
    """Every file in models/results is readable, in its place, and changes only keys that there are."""
    home = Path(__file__).parents[2] / "models" / "results"
    found = recipe_results.recipe_results()
    assert len(found) == len(list(home.glob("*/*.json")))
    for name, one in found.items():
        recipe = load_recipe(name)
        assert json.loads((home / f"{name}.json").read_text(encoding="utf-8")) == one.to_json()
        assert set(one.changed) <= set(known_keys())
        assert one.epochs == one.changed.get("train.epochs", recipe.train.epochs)


@pytest.mark.parametrize("what", ["profiles", "targets"])
def test_schema_of_human_written_files(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", what, "--json"]) == 0
    assert "properties" in json.loads(capsys.readouterr().out)["result"]["schema"]


def test_every_price_and_limit_has_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "profiles", "--sources", "--json"]) == 0
    items = json.loads(capsys.readouterr().out)["result"]["items"]
    assert [item["name"] for item in items] == profile_names()
    for item in items:
        assert [number["key"] for number in item["numbers"]] == [
            key for key, _ in load_profile(item["name"]).quantities()
        ]
        for number in item["numbers"]:
            assert number.get("unknown") or (number["source"] and number["basis"]), number


def test_sources_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "profiles", "--sources"]) == 0
    text = capsys.readouterr().out
    assert "23.6 [23.6, 35.5]" in text
    assert "davies2018 Table 2" in text
    assert "≥ 1.54" in text
    assert "2.3 (inside sop)" in text


def test_sources_of_something_else_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "models", "--sources"]) == 2
    assert "--sources goes with profiles" in capsys.readouterr().err


def test_unknown_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "chips"]) == 2
