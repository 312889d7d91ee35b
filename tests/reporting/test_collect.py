"""What a report finds in runs, what it makes on demand, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from fake_runs import make_group, make_run, sign_export

from neurodeploy.diagnostics import UsageError
from neurodeploy.reporting import collect as module
from neurodeploy.reporting import report
from neurodeploy.reporting.collect import collect


def test_seeds_are_one_group_in_order(tmp_path: Path, calls: dict[str, int]) -> None:
    make_group(tmp_path / "g", seeds=3)
    make_run(tmp_path / "g" / "seed-10", seed=10)
    (group,) = collect([tmp_path / "g"])
    assert [run.recipe.seed for run in group.runs] == [0, 1, 2, 10]
    assert group.name == "g"
    assert group.runs[0].name == "g/seed-0"


def test_a_single_run_is_a_group_of_one(tmp_path: Path, calls: dict[str, int]) -> None:
    make_run(tmp_path / "digits-conv-rmp", method="rmp")
    (group,) = collect([tmp_path / "digits-conv-rmp"])
    assert len(group.runs) == 1


def test_second_report_computes_nothing(groups: tuple[Path, Path], calls: dict[str, int]) -> None:
    first = collect(groups)
    assert calls == {"export": 6, "simulate": 6, "features": 2}
    again = collect(groups)
    assert calls == {"export": 6, "simulate": 6, "features": 2}
    assert again == first


def test_other_weights_are_exported_and_simulated_again(groups: tuple[Path, Path], calls: dict[str, int]) -> None:
    collect(groups)
    (groups[0] / "seed-0" / "model.safetensors").write_bytes(b"trained once more")
    collect(groups)
    assert (calls["export"], calls["simulate"]) == (7, 7)


def other_encoder(artifact: Path) -> None:
    (artifact / "encoder.nir").write_bytes(b"another encoder")


def other_compile(**keys: Any) -> Callable[[Path], None]:
    def change(artifact: Path) -> None:
        compiled = json.loads((artifact / "compile.json").read_text())
        (artifact / "compile.json").write_text(json.dumps(compiled | keys))

    return change


def other_placement(artifact: Path) -> None:
    other_compile(resources={"nodes": {"lif2": {"cores": 9}}, "total": {"cores": 12}})(artifact)


def exported_by_hand(run: Path, change: Callable[[Path], None]) -> None:
    """Another export of the same weights: the artifact changed, and its manifest says so."""
    artifact = run / "export-loihi2"
    source = json.loads((artifact / "manifest.json").read_text())["source"]
    change(artifact)
    sign_export(artifact, source)


@pytest.mark.parametrize("change", [other_encoder, other_placement])
def test_other_graph_or_placement_is_simulated_again(
    tmp_path: Path, calls: dict[str, int], change: Callable[[Path], None]
) -> None:
    run = make_run(tmp_path / "r")
    collect([run])
    exported_by_hand(run, change)
    collect([run])
    assert (calls["export"], calls["simulate"]) == (1, 2)


def test_another_version_simulates_again(
    tmp_path: Path, calls: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "r")
    collect([run])
    monkeypatch.setattr(module, "version", lambda package: "9.9")
    collect([run])
    assert (calls["export"], calls["simulate"]) == (1, 2)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"timesteps": 8}, "--timesteps 8"),
        ({"finetune": {"epochs": 1}}, "--finetune"),
        ({"fold": "threshold", "quantize": "mse"}, "--fold threshold, --quantize mse"),
    ],
)
def test_an_artifact_made_with_options_is_the_users(tmp_path: Path, calls: dict[str, int], changed, said) -> None:
    """It is neither compared as the plain export of the run nor replaced by it."""
    run = make_run(tmp_path / "r")
    collect([run])
    exported_by_hand(run, other_compile(**changed))
    before = (run / "export-loihi2" / "compile.json").read_bytes()
    notes: list[str] = []
    collect([run], progress=notes.append)
    assert calls["export"] == 2
    assert notes[0] == f"r: export-loihi2 was made with {said}; the report makes a plain export of its own"
    assert (run / "export-loihi2" / "compile.json").read_bytes() == before
    assert (run / "report-loihi2" / "compile.json").is_file()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("encoder.nir", "changed by hand"),
        ("compile.json", "[]"),
        ("compile.json", '{"resources": {}}'),
        ("manifest.json", "[]"),
        ("manifest.json", "{"),
        ("manifest.json", '{"files": {}, "source": []}'),
        ("manifest.json", '{"files": {"network.nir": 1}, "source": {"a": "b"}}'),
    ],
)
def test_a_changed_or_damaged_artifact_is_exported_again(
    tmp_path: Path, calls: dict[str, int], name: str, text: str
) -> None:
    run = make_run(tmp_path / "r")
    first = collect([run])
    (run / "export-loihi2" / name).write_text(text)
    assert collect([run]) == first
    assert (calls["export"], calls["simulate"]) == (2, 1)


def test_a_cache_that_cannot_be_written_is_a_notice(tmp_path: Path, calls: dict[str, int]) -> None:
    run = make_run(tmp_path / "r")
    (run / "simulate-loihi2.json").mkdir()  # as good as read-only, and root is refused too
    said: list[str] = []
    assert report(run, progress=said.append).groups[0].accuracy_chip is not None
    assert any("is not kept for the next report" in line for line in said)
    assert any(str(run / "simulate-loihi2.json") in line for line in said)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"key": 1}', '{"key": {"format": 0}, "trace": {}, "spikes_per_step": {}}']
)
def test_a_broken_cache_is_made_again(tmp_path: Path, calls: dict[str, int], text: str) -> None:
    run = make_run(tmp_path / "r")
    collect([run])
    (run / "simulate-loihi2.json").write_text(text)
    collect([run])
    assert calls["simulate"] == 2


@pytest.mark.parametrize(
    "broken",
    [{"layers": None}, {"samples": 1}, {"predictions": [0]}, {"host_layers": [{"name": "a", "sop": -5}]}],
)
def test_kept_counts_that_are_none_are_made_anew(tmp_path: Path, calls: dict[str, int], broken: dict[str, Any]) -> None:
    run = make_run(tmp_path / "r")
    good = collect([run])
    cache = run / "simulate-loihi2.json"
    kept = json.loads(cache.read_text())
    cache.write_text(json.dumps({**kept, "trace": {**kept["trace"], **broken}}))
    assert collect([run])[0].runs[0].simulation == good[0].runs[0].simulation
    assert calls["simulate"] == 2


def test_each_target_has_its_own_artifact(tmp_path: Path, calls: dict[str, int]) -> None:
    run = make_run(tmp_path / "r")
    collect([run], target="nir")
    assert (run / "export-nir").is_dir()
    assert (run / "simulate-nir.json").is_file()


def test_names_under_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: dict[str, int]) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "digits-conv-rmp")
    make_group(tmp_path / "runs" / "g", seeds=2)
    for name in ("digits-conv-rmp", "digits/conv-rmp"):
        assert collect([name])[0].path == Path("runs/digits-conv-rmp")
    assert collect(["g/seed-1"])[0].name == "g/seed-1"
    assert "digits-conv-rmp" in refused(["digits-conv-rpm"], "ND101").fix


def refused(runs: list[Any], code: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        collect(runs)
    assert caught.value.code == code
    return caught.value


def test_unfinished_run(tmp_path: Path, calls: dict[str, int]) -> None:
    run = make_run(tmp_path / "r")
    (run / "evaluation.json").unlink()
    assert "evaluation.json" in refused([run], "ND103").message


@pytest.mark.parametrize("name", ["evaluation.json", "manifest.json", "metrics.jsonl"])
def test_truncated_file(tmp_path: Path, calls: dict[str, int], name: str) -> None:
    run = make_run(tmp_path / "r")
    (run / name).write_text((run / name).read_text()[:-20] + "\n")
    assert refused([run], "ND107").where == str(run / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("evaluation.json", "{}"),
        ("evaluation.json", "[]"),
        ("manifest.json", "[]"),
        ("manifest.json", '{"data": []}'),
        ("manifest.json", '{"git": "main"}'),
        ("metrics.jsonl", '{"epoch": 1}'),
        ("metrics.jsonl", "3"),
    ],
)
def test_foreign_file(tmp_path: Path, calls: dict[str, int], name: str, text: str) -> None:
    run = make_run(tmp_path / "r")
    (run / name).write_text(text)
    error = refused([run], "ND107")
    assert name in error.message
    assert (error.where, error.exit_code) == (str(run / name), 2)
    assert error.fix
    assert calls["export"] == 0, "refused before anything slow"


def test_not_a_run(tmp_path: Path) -> None:
    refused([tmp_path], "ND103")
    (tmp_path / "file").write_text("")
    refused([tmp_path / "file"], "ND103")


def test_the_same_run_twice(tmp_path: Path, calls: dict[str, int]) -> None:
    run = make_run(tmp_path / "r")
    refused([run, tmp_path / "x" / ".." / "r"] if (tmp_path / "x").mkdir() is None else [], "ND113")


def test_a_seed_in_two_groups(tmp_path: Path, calls: dict[str, int]) -> None:
    group = make_group(tmp_path / "g", seeds=2)
    error = refused([group, group / "seed-0"], "ND113")
    assert error.where == f"{group} and {group / 'seed-0'}"
    assert str(group / "seed-0") in error.message
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "seed-5").symlink_to(group / "seed-1")
    refused([group, tmp_path / "h"], "ND113")


def test_seeds_of_different_recipes(tmp_path: Path, calls: dict[str, int]) -> None:
    make_run(tmp_path / "g" / "seed-0")
    make_run(tmp_path / "g" / "seed-1", seed=1, overrides=["train.lr=0.5"])
    error = refused([tmp_path / "g"], "ND113")
    assert "train.lr" in error.findings[0].rule
    assert calls["export"] == 0, "refused before anything slow"


def test_other_test_samples(tmp_path: Path, calls: dict[str, int]) -> None:
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", method="rmp")
    evaluation = json.loads((b / "evaluation.json").read_text())
    (b / "evaluation.json").write_text(json.dumps({**evaluation, "samples": 100}))
    error = refused([a, b], "ND113")
    assert (error.findings[0].measured, error.findings[0].limit) == (100, 360)


def test_data_changed_since_training(tmp_path: Path, calls: dict[str, int]) -> None:
    run = make_run(tmp_path / "a")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["data"]["test"] = "0" * 64
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert "other bytes" in refused([run], "ND113").findings[0].rule


def test_features_are_those_of_the_first_seed_and_kept(groups: tuple[Path, Path], calls: dict[str, int]) -> None:
    first = collect(groups)
    assert [[run.features is not None for run in group.runs] for group in first] == [[True, False, False]] * 2
    again = collect(groups)
    assert calls["features"] == 2
    assert again[0].runs[0].features == first[0].runs[0].features
    cache = groups[0] / "seed-0" / "features-loihi2.json"
    kept = json.loads(cache.read_text())
    cache.write_text(json.dumps({**kept, "key": {}}))
    collect(groups)
    assert calls["features"] == 3, "made for other bytes: made again"


def test_right_and_wrong_samples_are_those_of_the_accuracy(groups: tuple[Path, Path], calls: dict[str, int]) -> None:
    for run in (run for group in collect(groups) for run in group.runs):
        assert run.correct is not None
        assert run.correct.mean() == pytest.approx(run.simulation["accuracy"])


def test_two_profiles_of_one_chip(tmp_path: Path, calls: dict[str, int]) -> None:
    """Whatever follows knows a profile by its chip: the second would answer under the name of the first."""
    run = make_run(tmp_path / "r")
    shipped = resources.files("neurodeploy.shipped.hardware_profiles") / "loihi.toml"
    mine = tmp_path / "mine.toml"
    mine.write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
    assert report(run, profiles=["loihi", str(mine), "loihi"]).profiles == ("loihi",), "the same is one"
    mine.write_text(mine.read_text().replace("value = 23.6", "value = 30.0"), encoding="utf-8")
    calls.update(export=0)
    (run / "export-loihi2" / "network.nir").unlink()
    with pytest.raises(UsageError, match="two profiles that differ name the same chip: loihi") as caught:
        report(run, profiles=["loihi", str(mine)])
    assert caught.value.where == f"loihi and {mine}, [chip] id"
    assert calls["export"] == 0, "refused before anything slow"
