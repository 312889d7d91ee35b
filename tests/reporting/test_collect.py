"""What a report finds in runs, what it makes on demand, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_runs import make_group, make_run

from neurodeploy.diagnostics import UsageError
from neurodeploy.reporting.collect import collect, find_run


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
    assert calls == {"export": 6, "simulate": 6}
    again = collect(groups)
    assert calls == {"export": 6, "simulate": 6}
    assert again == first


def test_other_weights_are_exported_and_simulated_again(groups: tuple[Path, Path], calls: dict[str, int]) -> None:
    collect(groups)
    (groups[0] / "seed-0" / "model.safetensors").write_bytes(b"trained once more")
    collect(groups)
    assert calls == {"export": 7, "simulate": 7}


def test_other_graph_is_simulated_again(groups: tuple[Path, Path], calls: dict[str, int]) -> None:
    collect(groups)
    (groups[0] / "seed-0" / "export-loihi2" / "encoder.nir").write_bytes(b"another encoder")
    collect(groups)
    assert calls == {"export": 6, "simulate": 7}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"key": 1}', '{"key": {"format": 0}, "trace": {}, "spikes_per_step": {}}']
)
def test_a_broken_cache_is_made_again(tmp_path: Path, calls: dict[str, int], text: str) -> None:
    run = make_run(tmp_path / "r")
    collect([run])
    (run / "simulate-loihi2.json").write_text(text)
    collect([run])
    assert calls["simulate"] == 2


def test_each_target_has_its_own_artifact(tmp_path: Path, calls: dict[str, int]) -> None:
    run = make_run(tmp_path / "r")
    collect([run], target="nir")
    assert (run / "export-nir").is_dir()
    assert (run / "simulate-nir.json").is_file()


def test_names_under_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "digits-conv-rmp")
    assert find_run("digits-conv-rmp") == Path("runs/digits-conv-rmp")
    assert find_run("digits/conv-rmp") == Path("runs/digits-conv-rmp")
    with pytest.raises(UsageError) as caught:
        find_run("digits-conv-rpm")
    assert caught.value.code == "ND101"
    assert "digits-conv-rmp" in caught.value.fix


def refused(runs: list[Path], code: str) -> UsageError:
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
    refused([run], "ND103")


def test_not_a_run(tmp_path: Path) -> None:
    refused([tmp_path], "ND103")


def test_the_same_run_twice(tmp_path: Path, calls: dict[str, int]) -> None:
    run = make_run(tmp_path / "r")
    refused([run, tmp_path / "x" / ".." / "r"] if (tmp_path / "x").mkdir() is None else [], "ND113")


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
