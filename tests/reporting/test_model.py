"""The report as data."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from fake_runs import LAYERS, SAMPLES, T, make_group, make_run
from pydantic import TypeAdapter

from neurodeploy.reporting import headline, report
from neurodeploy.reporting.build import short_labels
from neurodeploy.reporting.model import Report, report_schema
from neurodeploy.reporting.plain import markdown
from neurodeploy.reporting.text import report_text


def test_schema_file_is_current() -> None:
    """On a change: write json.dumps(report_schema(), indent=1) there; raise SCHEMA_VERSION if a key changed.

    Keys only: the rest of the text is pydantic's, and differs between its versions.
    """

    def keys(schema: dict[str, Any]) -> dict[str, Any]:
        parts = {"Report": schema, **schema["$defs"]}
        return {name: (list(part["properties"]), part["required"]) for name, part in parts.items()}

    text = (resources.files("neurodeploy.reporting") / "report.schema.json").read_text(encoding="utf-8")
    assert keys(json.loads(text)) == keys(report_schema())


def test_json_keeps_the_schema(made: Report) -> None:
    text = json.dumps(made.to_json())
    assert TypeAdapter(Report).validate_json(text) == made


def test_groups_and_changes(made: Report) -> None:
    vanilla, rmp = made.groups
    assert (vanilla.label, rmp.label) == ("vanilla", "rmp")
    assert vanilla.changes == ()
    assert {change.key for change in rmp.changes} == {
        "loss.rmp.k",
        "loss.rmp.p",
        "loss.rmp.schedule",
        "loss.rmp.per",
        "loss.rmp.layers",
        "loss.rmp.potential",
        "loss.rmp.weighting",
    }
    assert all(change.baseline is None for change in rmp.changes)
    assert vanilla.accuracy_float.n == 3
    assert vanilla.accuracy_float.mean == pytest.approx((353 + 355 + 352) / 3 / SAMPLES)
    assert vanilla.accuracy_float.std == pytest.approx(
        ((1 / 3) ** 2 + (5 / 3) ** 2 + (4 / 3) ** 2) ** 0.5 / 2**0.5 / SAMPLES
    )


def test_layers(made: Report) -> None:
    group = made.groups[0]
    assert [layer.name for layer in group.trained_layers] == [name for name, *_ in LAYERS]
    assert all(len(layer.firing_rate_per_timestep) == T for layer in group.trained_layers)
    histogram = group.trained_layers[0].membrane
    assert histogram is not None
    assert sum(histogram.counts) + histogram.below + histogram.above == 3 * 8500
    by_name = {(layer.name, layer.on_host): layer for layer in group.chip_layers}
    assert ("conv1", True) in by_name
    lif2 = by_name["lif2", False]
    assert lif2.firing_rate is not None
    spikes = lif2.counts["spikes_out"]
    assert spikes is not None
    assert lif2.firing_rate.mean == pytest.approx(spikes.mean / (512 * T))
    assert lif2.counts["hops"] is None
    assert group.counts["hops"] is None


def test_energy_of_a_group_is_the_mean_over_seeds(made: Report) -> None:
    for group in made.groups:
        by_profile = {energy.profile: energy for energy in group.energy}
        assert tuple(by_profile) == made.profiles == ("loihi", "truenorth", "cmos45")
        sop = group.counts["sop"]
        assert sop is not None
        truenorth = by_profile["truenorth"]
        assert truenorth.dynamic.pj.mean == pytest.approx(2.30 * sop.mean)
        assert not truenorth.dynamic.at_least
        loihi = by_profile["loihi"]
        assert loihi.dynamic.at_least
        assert {"spike_out", "hop"} == set(loihi.unpriced)
        assert sum(term.energy.pj for term in loihi.terms) == pytest.approx(loihi.dynamic.pj.mean)
        assert sum(sum(terms.values()) for terms in loihi.layers.values()) == pytest.approx(loihi.dynamic.pj.mean)
        assert all(tag.source for energy in group.energy for tag in energy.prices)


def test_layers_of_an_energy_add_up_with_their_range(made: Report) -> None:
    for energy in (energy for group in made.groups for energy in group.energy):
        totals = energy.layer_totals
        assert set(totals) == set(energy.layers)
        for name, terms in energy.layers.items():
            assert totals[name].pj == pytest.approx(sum(terms.values()))
        assert sum(total.low_pj for total in totals.values()) == pytest.approx(energy.dynamic.low_pj)
        if energy.dynamic.high_pj is not None:
            assert sum(t.high_pj or 0 for t in totals.values()) == pytest.approx(energy.dynamic.high_pj)


def test_what_the_conversion_costs_and_what_a_layer_takes(made: Report) -> None:
    """The fake simulation is wrong on one sample more than training was."""
    for group in made.groups:
        assert group.conversion is not None
        assert group.conversion.mean == pytest.approx(-1 / SAMPLES)
        assert [place.name for place in group.places] == ["lif2", "lif3"]
        assert group.places[0].cores == 2
    assert "| vanilla | vanilla | 3 | 98.15 ± 0.42 % | 97.87 ± 0.42 % | −0.28 ± 0.00 points |" in markdown(made)


def test_the_same_samples_are_paired(made: Report) -> None:
    """The fake networks are wrong on the first samples: of each pair one is never right alone."""
    chip = next(c for c in made.comparisons if c.metric == "accuracy_chip")
    assert chip.paired is not None
    wrong = [[SAMPLES - round(SAMPLES * v) for v in s.values] for s in (chip.baseline_value, chip.group_value)]
    pairs = [(b, g) for b in wrong[0] for g in wrong[1]]
    assert chip.paired.only_group == pytest.approx(sum(max(0, b - g) for b, g in pairs) / 9)
    assert chip.paired.only_baseline == pytest.approx(sum(max(0, g - b) for b, g in pairs) / 9)
    assert all(c.paired is None for c in made.comparisons if c.metric != "accuracy_chip")
    assert "alone is right on" in made.headline[0]


def test_several_groups_are_answered_and_corrected(tmp_path: Path, calls: dict[str, int]) -> None:
    """rmp costs less, and more seeds of it cost the same; with two groups against one baseline p is corrected."""
    folders = [make_group(tmp_path / "x-vanilla"), make_group(tmp_path / "x-rmp", method="rmp")]
    alone = report(*folders)
    several = report(*folders, make_group(tmp_path / "x-laf", method="laf"))
    assert several.title.startswith(
        "None is clearly more accurate than vanilla (highest: rmp, +0.28 points, not signif"
    )
    assert "By dynamic energy on Intel Loihi, rmp (−8.8 %) is cheaper than vanilla." in several.title
    energy = [next(c for c in r.comparisons if c.metric == "energy.loihi") for r in (alone, several)]
    assert energy[0].p_corrected is None
    assert energy[0].difference.p_value is not None
    assert energy[1].p_corrected == pytest.approx(2 * energy[0].difference.p_value)
    assert " corrected, n = 3" in headline.how_sure(energy[1])


def test_a_correction_takes_a_claim_back(made: Report) -> None:
    error = next(c for c in made.comparisons if c.metric == "quantization_error")
    taken = dataclasses.replace(error, p_corrected=0.06)
    assert headline.sure_verdict(error) == "better"
    assert headline.sure_verdict(taken) == "not significant"
    assert headline.how_sure(taken) == "not significant with n = 3 once corrected for the number of tests"
    assert headline.short(taken) == "not significant, p = 0.06"


def test_headline_says_how_sure(made: Report) -> None:
    by_metric = {c.metric: c for c in made.comparisons}
    assert by_metric["quantization_error"].difference.verdict == "better"
    assert by_metric["energy.loihi"].difference.verdict == "better"
    assert by_metric["accuracy_chip"].difference.verdict == "not significant"
    assert made.title.startswith("rmp: no clear difference in accuracy to vanilla, ")
    assert " % less dynamic energy on Intel Loihi, " in made.title
    assert made.title.endswith(" % less quantization error.")
    assert "not significant with n = 3" in made.headline[0]
    assert "unpriced terms are left out" in made.headline[1]


def test_one_seed_makes_no_statement(tmp_path: Path, calls: dict[str, int]) -> None:
    made = report(make_run(tmp_path / "a"), make_run(tmp_path / "b", method="rmp"))
    assert all(c.difference.p_value is None for c in made.comparisons)
    assert "one seed: no statement" in made.headline[0]
    assert "(one seed)" in made.title


def test_one_group_alone(tmp_path: Path, calls: dict[str, int]) -> None:
    made = report(make_group(tmp_path / "digits-conv-rmp", method="rmp"))
    assert made.comparisons == ()
    assert "digits-conv-rmp reaches" in made.title
    assert "µJ" in made.title


def test_a_chip_without_prices(tmp_path: Path, calls: dict[str, int]) -> None:
    run = make_run(tmp_path / "a")
    bare = report(run, profiles=["loihi2"])
    assert bare.groups[0].energy[0].terms == ()
    assert "UNPRICED" in report_text(bare)
    proxied = report(run, profiles=["loihi2"], allow_proxy=True)
    assert proxied.groups[0].energy[0].proxy == "loihi"
    assert "PROXY loihi" in report_text(proxied)


def test_the_placement_behind_chips_and_messages_is_named(tmp_path: Path, calls: dict[str, int]) -> None:
    made = report(make_run(tmp_path / "a"), profiles=["loihi", "loihi2"], allow_proxy=True)
    static = made.groups[0].energy[0].static
    assert static is not None
    assert (static.chips, static.chips_assumed, static.chips_from) == (1, False, "loihi2")
    assert made.to_json()["groups"][0]["energy"][0]["static"]["chips_from"] == "loihi2"
    assert "| 1 (as on loihi2) |" in markdown(made)


def test_text_names_what_is_missing(made: Report) -> None:
    text = report_text(made)
    assert "UNPRICED spikes out" in text
    assert "≥" in text
    assert "416 µJ" in text
    assert "host work" in text


def test_labels() -> None:
    assert short_labels(["digits-conv-vanilla", "digits-conv-rmp"]) == ["vanilla", "rmp"]
    assert short_labels(["a", "a-b"]) == ["a", "a-b"]
    assert short_labels(["alone-run"]) == ["alone-run"]
    assert short_labels(["x-rmp", "x-rmp"]) == ["x-rmp", "x-rmp"]
