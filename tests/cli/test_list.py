"""``neurodeploy list``."""

from __future__ import annotations

import json

import pytest

from neurodeploy.cli import run
from neurodeploy.config.profile import load_profile, profile_names


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
