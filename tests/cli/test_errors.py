"""What every command does with what nobody should give it: models of all kinds, names, usage; never a traceback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from graphs import paper_chain
from small_files import foreign_network, listing

from neurodeploy.cli import COMMANDS, run
from neurodeploy.ir.nir_io import write_nir


def half(path: Path) -> None:
    write_nir(paper_chain(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def other_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["weights"] = 3


def not_finite(path: Path) -> None:
    graph = paper_chain()
    conv = graph.nodes["conv2"]
    write_nir(graph.with_nodes({"conv2": replace(conv, bias=np.full_like(conv.bias, np.nan))}), path)


def edited(path: Path) -> None:
    """A file of ours in which another program raised a threshold."""
    write_nir(paper_chain(), path)
    with h5py.File(path, "r+") as file:
        file["node/nodes/lif1/v_threshold"][...] *= 2


def rewired(change: Callable[[dict[str, Any], list[tuple[str, str]]], None], **metadata: Any) -> Callable[[Path], None]:
    """The foreign network with its nodes and edges changed, unchecked by nir."""

    def write(path: Path) -> None:
        network = foreign_network()
        nodes, edges = dict(network.nodes), list(network.edges)
        change(nodes, edges)
        nir.write(path, nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata, type_check=False))

    return write


def pooled(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> None:
    """A first layer that takes any image, and no Input to say which."""
    image(nodes, edges)
    nodes["c"] = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    nodes.pop("in")
    edges.pop(0)


def unknown_type(path: Path) -> None:
    rewired(lambda nodes, edges: None)(path)
    with h5py.File(path, "r+") as file:
        del file["node/nodes/l1/type"]
        file["node/nodes/l1/type"] = "ALIF"


def image(nodes: dict[str, Any], edges: list[tuple[str, str]], **conv: Any) -> None:
    """One convolution on a 6x6 image."""
    nodes.clear()
    edges.clear()
    settings = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **conv}
    nodes["in"] = nir.Input({"input": np.array([1, 6, 6])})
    nodes["c"] = nir.Conv2d(
        input_shape=(6, 6), weight=np.ones((1, 1, 2, 2), np.float32), bias=np.zeros(1, np.float32), **settings
    )
    nodes["out"] = nir.Output({"output": np.array([1, 5, 5])})
    edges.extend([("in", "c"), ("c", "out")])


MODELS: dict[str, tuple[Callable[[Path], Any], int, str, str]] = {
    "empty file": (lambda path: path.write_bytes(b""), 2, "ND104", "HDF5"),
    "text": (lambda path: path.write_text("a network"), 2, "ND104", "HDF5"),
    "folder named .nir": (lambda path: path.mkdir(), 2, "", ""),
    "half a file": (half, 2, "ND104", "truncated"),
    "another HDF5 file": (other_hdf5, 2, "ND104", "not a whole NIR file"),
    "weights not finite": (not_finite, 2, "ND104", "`conv2`: bias"),
    "changed by another tool": (edited, 2, "ND104", "`lif1`: v_threshold"),
    "unknown node": (unknown_type, 3, "ND201", "`l1` is ALIF"),
    "undelayed": (
        rewired(lambda nodes, edges: (nodes.update(s=nir.Scale(np.ones(5))), edges.extend([("a1", "s"), ("s", "s")]))),
        3,
        "ND211",
        "cycle",
    ),
    "no input": (rewired(pooled), 2, "ND105", "does not say its shape"),
    "edge to nowhere": (rewired(lambda nodes, edges: edges.append(("l1", "ghost"))), 2, "ND105", "ghost"),
    "doubled edge": (rewired(lambda nodes, edges: edges.append(edges[0])), 2, "ND105", "twice"),
    "no edges": (rewired(lambda nodes, edges: edges.clear()), 2, "ND105", "no edge leads"),
    "shapes do not meet": (
        rewired(lambda nodes, edges: nodes.update(l1=foreign_network().nodes["l2"])),
        2,
        "ND105",
        "(3,), got (5,)",
    ),
    "two inputs": (
        rewired(lambda nodes, edges: (nodes.update(two=nodes["in"]), edges.append(("two", "a1")))),
        3,
        "ND212",
        "2 Input",
    ),
    "stride 0": (rewired(lambda nodes, edges: image(nodes, edges, stride=0, padding="same")), 2, "ND104", "stride"),
    "even kernel, same": (rewired(lambda nodes, edges: image(nodes, edges, padding="same")), 3, "ND201", "same"),
    "notes are text": (rewired(lambda nodes, edges: None, neurodeploy="hello"), 2, "ND104", "kind"),
    "notes are newer": (rewired(lambda nodes, edges: None, neurodeploy={"schema": 99}), 2, "ND104", "newer"),
    "notes are wrong": (
        rewired(lambda nodes, edges: None, neurodeploy={"schema": 1, "timesteps": "x"}),
        2,
        "ND104",
        "kind",
    ),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("command", ["check", "export", "simulate"])
def test_models_that_cannot_be_read(command: str, kind: str, files: Path, call, tmp_path: Path) -> None:
    """One clear message, the same from every command, and nothing written."""
    write, exit_code, code, says = MODELS[kind]
    model = tmp_path / "model.nir"
    write(model)
    before = listing(tmp_path)
    options = {
        "check": ["--target", "nir"],
        "export": ["--target", "nir", "--out", tmp_path / "out"],
        "simulate": ["--input", files / "events.npz", "--trace", tmp_path / "trace.npz"],
    }
    error = call(exit_code, command, model, *options[command])
    assert error["code"].startswith(code)
    assert error["code"] != "ND901"
    assert says in error["message"]
    assert listing(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.nir"]


@pytest.mark.parametrize(
    ("name", "exit_code", "code"),
    [("model.net", 2, "ND104"), ("model.onnx", 2, "ND104"), ("static.npz", 2, "ND104"), ("folder", 2, "ND1")],
)
@pytest.mark.parametrize("command", ["check", "export", "simulate"])
def test_models_of_other_kinds(command: str, name: str, exit_code: int, code: str, files: Path, call, tmp_path) -> None:
    (tmp_path / "model.net").write_text("a network")
    (tmp_path / "model.onnx").write_text("a network")
    (tmp_path / "folder").mkdir()
    shutil.copy(files / "static.npz", tmp_path)
    options = ["--input", files / "static.npz"] if command == "simulate" else ["--target", "nir"]
    error = call(exit_code, command, tmp_path / name, *options)
    assert error["code"].startswith(code)


@pytest.mark.parametrize("command", ["check", "export", "simulate", "verify"])
def test_names_and_paths_that_are_not_there(command: str, files: Path, call, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"simulate": ["--input", files / "static.npz"], "verify": []}.get(command, ["--target", "nir"])
    assert call(2, command, "nothing", *options)["code"] == "ND101"
    for path in ("./nothing", "nothing.nir", "~/nothing/here", "/nothing"):
        assert call(2, command, path, *options)["code"] == "ND103"
    (tmp_path / "runs" / "digits-conv-rmp").mkdir(parents=True)
    error = call(2, command, "digits-conv-rpm", *options)
    assert (error["code"], error["fix"]) == ("ND101", "did you mean digits-conv-rmp?")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["digits-conv-rmp", "runs"]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("demo", "doctor", "explain")])
def test_usage_errors_with_and_without_json(command: str, capsys) -> None:
    assert run([command]) == 2  # something required is missing
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"neurodeploy {command} --help" in captured.err
    assert run([command, "--jsno", "--json"]) == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["schema"] == f"neurodeploy.{command}/1"
    assert document["error"]["code"] == "ND100"
    assert captured.err == ""


def test_unknown_command(capsys) -> None:
    assert run(["simualte"]) == 2
    assert "did you mean simulate?" in capsys.readouterr().err
    assert run(["simualte", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["command"], document["error"]["code"]) == ("", "ND100")


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, capsys) -> None:
    assert run([command, "--help"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"Usage: neurodeploy {command}")
    for option in ("--json", "--quiet"):
        assert option in captured.out
    assert captured.err == ""


def test_text_error_goes_to_stderr_with_the_way_out(files: Path, capsys) -> None:
    assert run(["check", str(files / "chain.nir"), "--target", "lohi2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error[ND101]: no such target: lohi2",
        "  where  --target",
        "  try    did you mean loihi2 or loihi?",
        "  more   neurodeploy explain ND101",
    ]


def test_a_bug_of_ours_is_exit_1_and_one_message(files: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("neurodeploy.targets.check.check", lambda *_, **__: {}["missing"])
    words = ["check", str(files / "chain.nir"), "--target", "nir"]
    monkeypatch.delenv("NEURODEPLOY_DEBUG", raising=False)
    assert run(words) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error[ND901]: KeyError: 'missing'")
    assert "Traceback" not in captured.err
    monkeypatch.setenv("NEURODEPLOY_DEBUG", "1")
    assert run(words) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c(files: Path, capsys, monkeypatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("neurodeploy.targets.check.check", interrupted)
    assert run(["check", str(files / "chain.nir"), "--target", "nir"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_exit_code_and_streams_of_the_program(files: Path, tmp_path: Path) -> None:
    """The installed program, not only the function: exit code 3, JSON alone on standard output."""
    words = [sys.executable, "-m", "neurodeploy", "check", str(files / "sew.nir"), "--target", "loihi2", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 3
    assert json.loads(done.stdout)["result"]["fits"] is False
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
@pytest.mark.parametrize("words", [[], ["--json"]])
@pytest.mark.parametrize("name", ["static.npz", "missing.npz"])
def test_a_result_that_cannot_be_printed_is_said(name: str, words: list[str], files: Path) -> None:
    """Standard output on a full disk: one message on standard error, never a traceback, also for an error as JSON."""
    command = [sys.executable, "-m", "neurodeploy", "simulate", str(files / "chip"), "--input", str(files / name)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*command, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    code, where = ("ND110", "standard output") if name == "static.npz" else ("ND103", name)
    assert done.stderr.startswith(f"error[{code}]")
    assert where in done.stderr
    assert done.stderr.count("error[") == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
