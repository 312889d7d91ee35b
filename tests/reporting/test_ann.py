"""The ANN of the same topology in a report: worked out from the counts of the made-up runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_runs import LAYERS, SAMPLES, T, make_run

from neurodeploy.reporting import report
from neurodeploy.reporting.model import Report
from neurodeploy.reporting.plain import csv_files
from neurodeploy.reporting.tables import tables

MACS = 9216 + 147_456 + 2560


def test_beside_a_chip_that_does_not_multiply_stand_conventional_lines(made: Report) -> None:
    for group in made.groups:
        on = {energy.profile: energy.ann for energy in group.energy}
        assert [line.profile for line in on["loihi"]] == ["cmos45", "cmos45-fp32"]
        assert [line.profile for line in on["cmos45"]] == ["cmos45"]
        assert all(line.macs == MACS for lines in on.values() for line in lines)
        assert all(line.marks for line in on["loihi"])
        assert on["cmos45"][0].marks == ()
        assert on["loihi"][1].energy.pj == pytest.approx(4.6 * MACS)


def test_the_ratio_is_that_of_the_energies_shown(made: Report) -> None:
    """The host's first layer, 9216 products once, is paid for on both sides."""
    for group in made.groups:
        for energy in group.energy:
            for line in energy.ann:
                host = line.energy.pj * 9216 / MACS
                assert line.ratio == pytest.approx((energy.dynamic.pj.mean + host) / line.energy.pj)


def test_the_rate_at_which_it_stops_winning(made: Report) -> None:
    """TrueNorth, where operations alone are charged, 2.30 pJ each: what the ANN does behind the host's first layer."""
    group = made.groups[0]
    truenorth = next(energy for energy in group.energy if energy.profile == "truenorth")
    found = truenorth.ann[1].crossover
    sop, spikes = group.counts["sop"], group.counts["spikes_out"]
    assert sop is not None
    assert spikes is not None
    assert found.factor == pytest.approx(4.6 * (MACS - 9216) / (2.30 * sop.mean))
    encoder = 100 * T  # spikes of the host's first layer, per inference
    rate = (spikes.mean + encoder) / (sum(neurons for _, neurons, _ in LAYERS) * T)
    assert found.measured_rate == pytest.approx(rate, rel=1e-6)
    assert found.rate == pytest.approx(found.factor * rate)
    assert found.exact


def test_the_table_and_its_csv(made: Report) -> None:
    table = tables(made)["ann"]
    assert len(table.rows) == 2 * (2 + 2 + 1)
    wins = [row[table.columns.index("wins below")].text for row in table.rows]
    assert all("%" in cell or cell in ("always", "never", "unknown") for cell in wins)
    assert "ann.csv" in csv_files(made)


def test_an_artifact_of_an_earlier_version_has_no_line(tmp_path: Path, calls: dict[str, int]) -> None:
    run = make_run(tmp_path / "a")
    report(run)
    compiled = json.loads((run / "export-loihi2/compile.json").read_text())
    del compiled["dense_macs"]
    (run / "export-loihi2/compile.json").write_text(json.dumps(compiled))
    manifest = json.loads((run / "export-loihi2/manifest.json").read_text())
    del manifest["files"]["compile.json"]
    (run / "export-loihi2/manifest.json").write_text(json.dumps(manifest))
    made = report(run)
    assert calls["export"] == 1
    assert all(energy.ann == () for energy in made.groups[0].energy)
    assert "ann" not in tables(made)
    assert made.samples == SAMPLES
