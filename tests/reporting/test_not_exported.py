"""Groups that the target does not take, ANNs, and five groups at a glance: training is reported, nothing is made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_runs import make_group, make_run
from pydantic import TypeAdapter

from neurodeploy.diagnostics import UsageError
from neurodeploy.reporting import report
from neurodeploy.reporting.figures import figures
from neurodeploy.reporting.html import page
from neurodeploy.reporting.model import Report
from neurodeploy.reporting.plain import csv_files, markdown
from neurodeploy.reporting.tables import tables
from neurodeploy.reporting.text import report_text

REASON = "ND221 paths of different length meet in lif2"
METHODS = {"vanilla": 3, "rmp": 2, "laf": 1, "repact": 3, "laf-repact": 1}


@pytest.fixture
def five(tmp_path: Path, calls: dict[str, int]) -> Report:
    return report(*(make_group(tmp_path / f"x-{name}", method=name, seeds=n) for name, n in METHODS.items()))


def test_five_groups_with_their_own_numbers_of_seeds(five: Report) -> None:
    assert [(group.label, group.accuracy_float.n) for group in five.groups] == list(METHODS.items())
    assert [group.method for group in five.groups] == ["vanilla", "rmp", "laf", "repact", "laf+repact"]
    rows = {row[0].text: [cell.text for cell in row] for row in tables(five)["groups"].rows}
    assert list(rows) == list(METHODS)
    columns = tables(five)["groups"].columns
    vanilla = dict(zip(columns, rows["vanilla"], strict=True))
    # 353, 355 and 352 of 360.
    assert vanilla["accuracy, float"] == "98.15 ± 0.42 %"
    assert vanilla["n"] == "3"
    assert vanilla["firing rate"] == "15.00 ± 0.00 %"
    assert dict(zip(columns, rows["laf"], strict=True))["accuracy, float"] == "98.06 %"


def test_significance_needs_two_seeds_on_both_sides(five: Report) -> None:
    for comparison in five.comparisons:
        one = METHODS[comparison.group] == 1
        assert (comparison.difference.verdict == "one seed") == one, comparison
        assert (comparison.difference.p_value is None) or not one
    text = report_text(five)
    assert "one seed: no statement on significance, n = 3 and 1" in " ".join(text.split())


def test_the_recipe_diff_comes_first(five: Report) -> None:
    text = report_text(five)
    assert text.index("What changed") < text.index("Results") < text.index("Compared with vanilla")
    assert "repact.enabled" in text


def test_what_is_not_exported_says_why(five: Report) -> None:
    groups = {group.label: group for group in five.groups}
    for name in ("repact", "laf-repact"):
        group = groups[name]
        assert group.not_exported == REASON
        assert (group.accuracy_chip, group.energy, group.chip_layers, group.purity) == (None, (), (), "not exported")
        assert set(group.counts.values()) == {None}
        assert group.quantization_error is not None
        assert len(group.trained_layers) == 3
        assert group.trained_layers[0].membrane is not None
    assert groups["vanilla"].not_exported is None
    assert groups["vanilla"].energy
    deployment = tables(five)["deployment"]
    rows = {row[0].text: [cell.text for cell in row] for row in deployment.rows}
    assert rows["repact"] == ["repact", "not exported", *["-"] * 6]
    assert rows["vanilla"][1] == "pure"
    assert f"repact is not exported: {REASON}." in deployment.note
    assert [cell.text for cell in tables(five)["groups"].rows[3]].count("not exported") == 1
    energy = tables(five)["energy"]
    assert {row[1].text for row in energy.rows} == {"vanilla", "rmp", "laf"}
    assert "Not exported, so without an energy: repact, laf-repact." in energy.note


def test_sentences_do_not_claim_what_was_not_measured(five: Report) -> None:
    of_repact = [sentence for sentence in five.headline if sentence.startswith("repact")]
    assert any("in float" in sentence for sentence in of_repact)
    assert any(sentence == f"repact is not exported for loihi2, so nothing is said of it there: {REASON}."
               for sentence in of_repact)  # fmt: skip
    assert not any("on loihi2:" in sentence or "costs" in sentence for sentence in of_repact)
    assert {c.metric for c in five.comparisons if c.group == "repact"} == {"accuracy_float", "quantization_error"}
    assert {c.metric for c in five.comparisons if c.group == "laf"} >= {"accuracy_chip", "sop", "energy.loihi"}


def test_every_form_can_be_made(five: Report) -> None:
    html = page(five)
    assert REASON in html
    assert REASON in markdown(five)
    assert "not exported" in csv_files(five)["deployment.csv"]
    assert {"accuracy", "membranes", "energy", "operations", "curves"} <= set(figures(five))
    assert TypeAdapter(Report).validate_json(json.dumps(five.to_json())) == five


def test_two_groups_of_which_one_is_not_exported(tmp_path: Path, calls: dict[str, int]) -> None:
    made = report(make_group(tmp_path / "x-vanilla"), make_group(tmp_path / "x-repact", method="repact"))
    assert made.title == (
        "repact: no clear difference in accuracy to vanilla; in float, repact not exported for loihi2."
    )


def test_nothing_is_exported(tmp_path: Path, calls: dict[str, int]) -> None:
    made = report(make_run(tmp_path / "a", method="repact"))
    assert calls["simulate"] == 0
    assert "in float" in made.title
    assert made.headline[-1].endswith(f"{REASON}.")
    assert made.arithmetic == "loihi"
    assert "energy" not in tables(made)
    assert "energy" not in figures(made)
    assert "Nothing was exported for loihi2" in page(made)
    assert "µJ" not in report_text(made)


def test_a_refused_export_says_so_on_the_way(tmp_path: Path, calls: dict[str, int]) -> None:
    said: list[str] = []
    report(make_run(tmp_path / "a", method="repact"), progress=said.append)
    assert said[:2] == ["exporting a for loihi2", f"a is not exported for loihi2: {REASON}"]


def test_runs_without_an_export_are_compared_on_the_same_data_only(tmp_path: Path, calls: dict[str, int]) -> None:
    a, b = make_run(tmp_path / "a", method="repact"), make_run(tmp_path / "b", method="laf-repact")
    manifest = json.loads((b / "manifest.json").read_text())
    manifest["data"]["test"] = "0" * 64
    (b / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError) as caught:
        report(a, b)
    assert caught.value.code == "ND113"


def test_an_ann_has_dashes(tmp_path: Path, calls: dict[str, int]) -> None:
    made = report(make_run(tmp_path / "x-vanilla"), make_run(tmp_path / "x-ann", method="ann"))
    ann = made.groups[1]
    assert (ann.method, ann.quantization_error, ann.firing_rate, ann.trained_layers) == ("ann", None, None, ())
    assert {curve.metric for curve in ann.curves} == {"test_accuracy", "train_loss"}
    rows = [cell.text for cell in tables(made)["groups"].rows[1]]
    assert rows[5:7] == ["-", "-"]
    assert "quantization_error" not in {c.metric for c in made.comparisons}
    assert "nan" not in page(made).lower().split('<script type="application/json"')[0]


def test_the_best_epoch_is_a_side_note(tmp_path: Path, calls: dict[str, int]) -> None:
    made = report(make_run(tmp_path / "a"))
    run = made.groups[0].runs[0]
    assert (run.best_epoch, run.best_accuracy) == (5, pytest.approx(354 / 360))
    assert run.accuracy_float == pytest.approx(353 / 360)
    assert "98.33 % (epoch 5)" in markdown(made)
