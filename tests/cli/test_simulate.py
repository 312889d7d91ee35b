"""``neurodeploy simulate``."""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import nir
import numpy as np
import pytest
from small_files import BAD_INPUTS, SAMPLES, TIMESTEPS, foreign_network, listing

from neurodeploy.cli import run
from neurodeploy.cli.render import simulate_text
from neurodeploy.ir.nir_io import read_nir
from neurodeploy.sim.trace import COUNT_KEYS

RESULT = {"accuracy", "predictions", "samples", "timesteps", "arithmetic", "purity", "seconds", "counts", "layers"}
COUNTS = {
    "sop",
    "sop_nonzero",
    "sop_graded",
    "mac",
    "mac_once",
    "neuron_updates_active",
    "neuron_updates_idle",
    "spikes_out",
    "messages",
    "hops",
}


def simulated(call, model: Path, inputs: Path, *options: str | Path) -> dict:
    return call(0, "simulate", model, "--input", inputs, *options)


def measured(result: dict) -> dict:
    """Everything but the time it took."""
    return {key: value for key, value in result.items() if key != "seconds"}


def test_json_of_an_artifact(files: Path, call) -> None:
    result = simulated(call, files / "chip", files / "static.npz")
    assert set(result) >= RESULT
    assert (result["samples"], result["timesteps"], result["arithmetic"]) == (SAMPLES, TIMESTEPS, "loihi")
    assert result["purity"] == "pure"
    assert len(result["predictions"]) == SAMPLES
    assert result["accuracy"] == pytest.approx(np.mean(np.array(result["predictions"]) == np.arange(SAMPLES)))
    assert set(result["counts"]) == COUNTS
    graph = read_nir(files / "chip" / "network.nir")
    assert [row["name"] for row in result["layers"]] == list(graph.nodes)
    by_name = {row["name"]: row for row in result["layers"]}
    for row in result["layers"]:
        assert set(row) >= COUNTS | {"name", "kind"}
        assert row["kind"] == graph.nodes[row["name"]].kind
    assert by_name["lif2"]["hops"] is None  # no mesh is known
    assert by_name["lif2"]["messages"] is not None  # the artifact knows its cores
    assert by_name["conv2"]["neuron_updates_active"] == 0  # cannot apply
    for key in COUNTS - {"messages", "hops"}:
        assert result["counts"][key] == sum(row[key] for row in result["layers"])
    # 4·8·8 neurons of lif2 and 10 of the readout, each updated or idle at each step
    updates = result["counts"]["neuron_updates_active"] + result["counts"]["neuron_updates_idle"]
    assert updates == SAMPLES * TIMESTEPS * (256 + 10)
    assert [row["name"] for row in result["host_layers"]] == ["input", "conv1", "lif1", "output"]


def test_simulation_is_the_golden_vectors(files: Path, call, tmp_path: Path) -> None:
    """Bit for bit: the engine against the interpreter's golden vectors, spikes, membranes and output."""
    for name in ("artifact", "chip"):
        trace = tmp_path / f"{name}.npz"
        simulated(call, files / name, files / "static.npz", "--trace", trace, "--trace-membrane")
        with np.load(trace) as found, np.load(files / name / "golden.npz") as golden:
            keys = [key for key in golden.files if key.startswith(("spikes/", "membrane/", "output"))]
            assert len(keys) >= 4
            for key in keys:
                np.testing.assert_array_equal(found[key], golden[key], err_msg=f"{name} {key}")


@pytest.mark.parametrize(("name", "inputs"), [("artifact", "static.npz"), ("chip", "static.npz")])
@pytest.mark.parametrize("membrane", [False, True])
def test_trace(name: str, inputs: str, membrane: bool, files: Path, call, tmp_path: Path) -> None:
    options = ["--trace-membrane"] if membrane else []
    result = simulated(call, files / name, files / inputs, "--trace", tmp_path / "t.npz", *options)
    graph = read_nir(files / name / "network.nir")
    lifs = [n for n, node in graph.nodes.items() if node.kind == "lif"]
    with np.load(tmp_path / "t.npz") as trace:
        assert [k for k in trace.files if k.startswith("spikes/")] == [f"spikes/{n}" for n in lifs]
        for n in lifs:
            assert trace[f"spikes/{n}"].dtype == np.uint8
            assert trace[f"spikes/{n}"].shape == (SAMPLES, TIMESTEPS, *graph.shapes[n])
        assert trace["output"].shape == (SAMPLES, TIMESTEPS, 10)
        for row in result["layers"]:
            for key in COUNTS:
                array = f"counts/{row['name']}/{key}"
                if row[key] is None:
                    assert array not in trace.files
                else:
                    assert trace[array].dtype == np.int64
                    assert trace[array].shape == (TIMESTEPS,)
                    assert trace[array].sum() == row[key]
        kept = {k for k in trace.files if not k.startswith(("spikes/", "counts/"))} - {"output"}
        assert kept == ({f"membrane/{n}" for n in [*lifs, "readout"]} if membrane else set())
        for key in kept:
            assert np.issubdtype(trace[key].dtype, np.integer if name == "chip" else np.floating)
        if membrane:  # an integrator puts out its state
            np.testing.assert_array_equal(trace["membrane/readout"], trace["output"])
        # the prediction is read from the last step of the integrator
        assert trace["output"][:, -1].argmax(axis=1).tolist() == result["predictions"]
        assert sum(int(trace[f"spikes/{n}"].sum()) for n in lifs) == result["counts"]["spikes_out"]
    assert [p.name for p in tmp_path.iterdir()] == ["t.npz"]


def test_static_input_is_repeated(files: Path, call) -> None:
    """``(B, *shape)`` and the same repeated over T give the same spikes; only ``mac_once`` knows the difference."""
    static = simulated(call, files / "artifact", files / "static.npz")
    repeated = simulated(call, files / "artifact", files / "repeated.npz")
    assert static["predictions"] == repeated["predictions"]
    once = static["counts"].pop("mac_once")
    assert repeated["counts"].pop("mac_once") == 0
    assert once * TIMESTEPS == static["counts"]["mac"]
    assert static["counts"] == repeated["counts"]


def test_batch_threads_and_repetition_change_nothing(files: Path, call) -> None:
    first = measured(simulated(call, files / "chip", files / "static.npz"))
    assert measured(simulated(call, files / "chip", files / "static.npz", "--batch", "2", "--threads", "2")) == first
    assert measured(simulated(call, files / "chip", files / "static.npz", "--batch", "1")) == first


def test_limit(files: Path, call) -> None:
    every = simulated(call, files / "chip", files / "static.npz")
    some = simulated(call, files / "chip", files / "static.npz", "--limit", "2")
    assert some["samples"] == 2
    assert some["predictions"] == every["predictions"][:2]
    assert simulated(call, files / "chip", files / "static.npz", "--limit", "99")["samples"] == SAMPLES


def test_data_set_instead_of_a_file(files: Path, call, monkeypatch) -> None:
    monkeypatch.delenv("NEURODEPLOY_DATA", raising=False)
    result = call(0, "simulate", files / "chip", "--data", "digits", "--limit", "3")
    assert result["samples"] == 3
    assert result["accuracy"] is not None
    error = call(2, "simulate", files / "chip", "--data", "digits", "--split", "tset")
    assert (error["code"], "test" in error["fix"]) == ("ND101", True)


def test_float64_and_text(files: Path, call, capsys) -> None:
    assert (
        simulated(call, files / "artifact", files / "static.npz", "--arithmetic", "float64")["arithmetic"] == "float64"
    )
    assert run(["simulate", str(files / "artifact"), "--input", str(files / "static.npz"), "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{SAMPLES} samples, {TIMESTEPS} timesteps, float32, accuracy")
    assert "conv1: a chip synapse sees a real edge" in captured.out
    assert captured.err == ""


def test_spikes_for_the_chip_itself_skip_the_encoder(files: Path, call, tmp_path: Path) -> None:
    with np.load(files / "chip" / "golden.npz") as golden:
        np.savez(tmp_path / "x.npz", x=golden["input"])
    direct = simulated(call, files / "chip", tmp_path / "x.npz")
    assert direct["predictions"] == simulated(call, files / "chip", files / "static.npz")["predictions"]
    assert direct["host_layers"] == []


# ---------------------------------------------------------------------------------------------------------------------
# foreign files


def test_foreign_real_input_is_counted_as_macs(files: Path, call) -> None:
    result = simulated(call, files / "foreign.nir", files / "events.npz")
    by_name = {row["name"]: row for row in result["layers"]}
    assert list(by_name) == ["in", "a1", "l1", "a2", "l2", "out"]
    assert by_name["a1"]["mac"] == 7 * 5 * 4 * 5  # samples x timesteps x inputs x outputs
    assert by_name["a1"]["sop"] == 0
    assert by_name["a2"]["sop"] == 3 * by_name["l1"]["spikes_out"]
    assert by_name["l1"]["messages"] is None  # no placement
    assert result["purity"] == "impure"
    assert result["accuracy"] is None


def test_foreign_binary_input_is_counted_as_spikes(files: Path, call) -> None:
    real = simulated(call, files / "foreign.nir", files / "events.npz")
    binary = simulated(call, files / "foreign.nir", files / "events.npz", "--input-kind", "binary")
    with np.load(files / "events.npz") as archive:
        events = int(archive["x"].sum())
    row = next(row for row in binary["layers"] if row["name"] == "a1")
    assert (row["sop"], row["mac"]) == (5 * events, 0)
    assert binary["purity"] == "pure"
    assert binary["predictions"] == real["predictions"]


@pytest.mark.parametrize("kind", ["binary", "integer"])
def test_values_that_the_kind_forbids(kind: str, files: Path, call) -> None:
    error = call(2, "simulate", files / "foreign.nir", "--input", files / "values.npz", "--input-kind", kind)
    assert error["code"] == "ND108"
    assert "140 of 140 values" in error["message"]


def by_hand(x: np.ndarray, dt: float, compare: str, reset: str) -> list[int]:
    """Forward Euler of the NIR equations, written down again: number of spikes of l1 and of l2, float64."""
    read = foreign_network().nodes
    counts, value = [], x.astype(np.float64)
    for synapse in ("a1", "a2"):
        current = value @ read[synapse].weight.astype(np.float64).T
        v = np.zeros((x.shape[0], current.shape[2]))
        fired = np.zeros_like(current)
        for t in range(x.shape[1]):
            v = v + dt / 2e-4 * (2.0 * current[:, t] - v)
            fired[:, t] = v >= 0.5 if compare == "ge" else v > 0.5
            jump = {"v_reset": 0.1, "zero": 0.0, "subtract": v - 0.5}[reset]
            v = np.where(fired[:, t] > 0, jump, v)
        counts.append(int(fired.sum()))
        value = fired
    return counts


@pytest.mark.parametrize("reset", ["v_reset", "zero", "subtract"])
@pytest.mark.parametrize("dt", [1e-4, 5e-5])
def test_foreign_neurons_follow_the_nir_equations(reset: str, dt: float, files: Path, call) -> None:
    options = ["--reset", reset, "--dt", str(dt), "--arithmetic", "float64"]
    result = simulated(call, files / "foreign.nir", files / "values.npz", *options)
    with np.load(files / "values.npz") as archive:
        expected = by_hand(archive["x"], dt, "gt", reset)
    assert [row["spikes_out"] for row in result["layers"] if row["kind"] == "lif"] == expected


def test_defaults_of_a_foreign_file(files: Path, call) -> None:
    plain = simulated(call, files / "foreign.nir", files / "values.npz")
    explicit = ["--reset", "v_reset", "--dt", "1e-4", "--compare", "gt", "--input-kind", "real"]
    named = simulated(call, files / "foreign.nir", files / "values.npz", *explicit, "--arithmetic", "float32")
    assert measured(plain) == measured(named)


def test_compare_matters_at_the_threshold(call, tmp_path: Path) -> None:
    """One neuron that is driven exactly to its threshold: ge fires at every step, gt never."""
    nodes = {
        "in": nir.Input({"input": np.array([1])}),
        "a": nir.Affine(np.array([[0.5]], np.float32), np.zeros(1, np.float32)),
        "l": nir.LIF(
            tau=np.array([1e-4]), r=np.ones(1), v_leak=np.zeros(1), v_threshold=np.array([0.5]), v_reset=np.zeros(1)
        ),
        "out": nir.Output({"output": np.array([1])}),
    }
    nir.write(tmp_path / "one.nir", nir.NIRGraph(nodes=nodes, edges=[("in", "a"), ("a", "l"), ("l", "out")]))
    np.savez(tmp_path / "x.npz", x=np.ones((1, 4, 1), np.float32))
    spikes = {
        compare: simulated(call, tmp_path / "one.nir", tmp_path / "x.npz", "--compare", compare)["counts"]["spikes_out"]
        for compare in ("ge", "gt")
    }
    assert spikes == {"ge": 4, "gt": 0}


def test_prediction_without_an_integrator_is_the_sum_over_time(files: Path, call, tmp_path: Path) -> None:
    result = simulated(call, files / "foreign.nir", files / "values.npz", "--trace", tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as trace:
        np.testing.assert_array_equal(trace["output"], trace["spikes/l2"])
        assert trace["output"].dtype == np.uint8
        assert trace["output"].sum(axis=1).argmax(axis=1).tolist() == result["predictions"]


def test_timesteps_of_a_static_input(files: Path, call, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((2, 4), np.float32))
    error = call(2, "simulate", files / "foreign.nir", "--input", tmp_path / "x.npz")
    assert (error["code"], "--timesteps" in error["fix"]) == ("ND118", True)
    assert simulated(call, files / "foreign.nir", tmp_path / "x.npz", "--timesteps", "3")["timesteps"] == 3
    for steps in ("0", "-2"):
        bad = call(2, "simulate", files / "foreign.nir", "--input", tmp_path / "x.npz", "--timesteps", steps)
        assert bad["code"] == "ND118"
    against = call(2, "simulate", files / "artifact", "--input", files / "repeated.npz", "--timesteps", "8")
    assert against["code"] == "ND105"
    assert "(B, 1, 8, 8)" in against["fix"]


@pytest.mark.parametrize(("dt", "code"), [("1e-3", "ND114"), ("0", "ND100"), ("-1", "ND100"), ("nan", "ND100")])
def test_wrong_dt(dt: str, code: str, files: Path, call) -> None:
    assert call(2, "simulate", files / "foreign.nir", "--input", files / "events.npz", "--dt", dt)["code"] == code


@pytest.mark.parametrize("tau", [0.0, -1.0, np.nan])
def test_a_time_constant_that_is_none(tau: float, files: Path, call, tmp_path: Path) -> None:
    nir.write(tmp_path / "f.nir", foreign_network(tau=tau))
    error = call(2, "simulate", tmp_path / "f.nir", "--input", files / "events.npz")
    assert (error["code"], error["where"]) == ("ND114", "l1")


# ---------------------------------------------------------------------------------------------------------------------
# options against what a file of ours says


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--compare", "gt"], "--compare gt overrules the file, which says ge"),
        (["--reset", "subtract"], "--reset subtract overrules the file, which says zero"),
        (["--dt", "5e-5"], "--dt 5e-05 overrules the file, which says 0.0001"),
        (["--timesteps", "2"], "--timesteps 2 overrules the file, which says 4"),
        (["--arithmetic", "float64"], "--arithmetic float64 overrules the file, which says float32"),
        (["--compare", "ge", "--reset", "zero", "--dt", "1e-4", "--timesteps", "4", "--input-kind", "real"], ""),
        (["--reset", "v_reset", "--arithmetic", "float32"], ""),
    ],
)
@pytest.mark.parametrize("model", ["artifact", "artifact/network.nir"])
def test_notice_when_an_option_overrules_our_file(model, options, line, files: Path, capsys) -> None:
    words = ["simulate", str(files / model), "--input", str(files / "static.npz"), *options, "--json"]
    assert run(words) == 0
    captured = capsys.readouterr()
    json.loads(captured.out)
    assert captured.err == (f"note: {line}\n" if line else "")
    assert run([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_the_option_wins(files: Path, call) -> None:
    hard = simulated(call, files / "artifact", files / "static.npz")
    soft = simulated(call, files / "artifact", files / "static.npz", "--reset", "subtract")
    assert hard["counts"]["spikes_out"] != soft["counts"]["spikes_out"]
    assert simulated(call, files / "artifact", files / "static.npz", "--timesteps", "2")["timesteps"] == 2


def test_input_kind_is_about_what_the_user_gives(files: Path, call, capsys) -> None:
    """Behind a host encoder the chip sees spikes anyway; ``real`` is what the encoder takes and no contradiction."""
    plain = simulated(call, files / "chip", files / "static.npz")
    assert measured(simulated(call, files / "chip", files / "static.npz", "--input-kind", "real")) == measured(plain)
    error = call(2, "simulate", files / "chip", "--input", files / "static.npz", "--input-kind", "binary")
    assert error["code"] == "ND108"


def test_another_number_of_timesteps_in_the_input(files: Path, capsys, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 7, 1, 8, 8), np.float32))
    assert run(["simulate", str(files / "chip"), "--input", str(tmp_path / "x.npz")]) == 0
    assert "the input has 7 timesteps, the file was made for 4" in capsys.readouterr().err


def test_foreign_files_get_no_notices(files: Path, capsys) -> None:
    words = ["simulate", str(files / "foreign.nir"), "--input", str(files / "events.npz"), "--reset", "zero"]
    assert run(words) == 0
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------------------------------------------------------------
# refusals


@pytest.mark.parametrize(
    ("options", "code", "error", "says"),
    [
        (["--spikes", "multi", "--compare", "gt"], 2, "ND100", "--compare gt"),
        (["--spikes", "multi", "--reset", "zero"], 2, "ND100", "--reset zero"),
        (["--dt", "0"], 2, "ND100", "--dt"),
        (["--dt", "nan"], 2, "ND100", "--dt"),
        (["--arithmetic", "loihi"], 3, "ND213", "must be integers"),
        (["--arithmetic", "int8"], 2, "ND100", "float32"),
        (["--batch", "0"], 2, "ND100", "--batch"),
        (["--threads", "0"], 2, "ND100", "--threads"),
        (["--limit", "0"], 2, "ND100", "--limit"),
        (["--data", "digits"], 2, "ND100", "--input"),
        (["--trace-membrane"], 2, "ND100", "--trace"),
        (["--timesteps", "0"], 2, "ND118", "--timesteps is 0"),
        (["--input", "missing.npz"], 2, "ND103", "check the path"),
    ],
)
def test_refused_options(options, code, error, says, files: Path, call) -> None:
    found = call(code, "simulate", files / "artifact", "--input", files / "static.npz", *options)
    assert found["code"] == error
    assert says in found["message"] + found["fix"]


def test_loihi_arithmetic_lists_every_reason(files: Path, call) -> None:
    words = ["simulate", files / "artifact", "--input", files / "static.npz", "--arithmetic", "loihi"]
    findings = call(3, *words)["findings"]
    assert {"conv1", "lif1", "conv2", "lif2", "pool2", "fc", "input"} <= {f["node"] for f in findings}
    assert all("biass" not in f["rule"] for f in findings)


@pytest.mark.parametrize(("name", "code", "says"), BAD_INPUTS)
@pytest.mark.parametrize("limit", [[], ["--limit", "3"]])
def test_bad_input(name: str, code: str, says: str, limit, files: Path, call, tmp_path: Path) -> None:
    trace = tmp_path / "trace.npz"
    error = call(2, "simulate", files / "artifact", "--input", files / name, "--trace", trace, *limit)
    assert error["code"] == code
    assert says in error["message"] or limit
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "code"), [(".", "ND100"), ("file.txt/trace.npz", "ND110"), ("missing/below/trace.npz", None)]
)
def test_where_the_trace_goes(place: str, code: str | None, files: Path, call, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("mine")
    words = ["simulate", files / "chip", "--input", files / "static.npz", "--trace", tmp_path / place]
    if code is None:
        call(0, *words)
        assert (tmp_path / place).is_file()
    else:
        assert call(2, *words)["code"] == code
        assert listing(tmp_path) == {"file.txt": b"mine"}


@pytest.mark.parametrize("kind", ["model", "text", "pipe"])
def test_a_trace_replaces_no_more_than_a_trace(kind: str, files: Path, call, tmp_path: Path) -> None:
    """Not the model, nor another file, nor a device (as root the rename onto ``/dev/null`` would succeed)."""
    place = tmp_path / "place"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.write_bytes((files / "chain.nir").read_bytes() if kind == "model" else b"notes")
    model = place if kind == "model" else files / "chain.nir"
    error = call(2, "simulate", model, "--input", files / "static.npz", "--trace", place)
    assert error["code"] == "ND110"
    assert list(tmp_path.iterdir()) == [place]
    if kind != "pipe":
        assert place.read_bytes() == (b"notes" if kind == "text" else (files / "chain.nir").read_bytes())
        return
    assert stat.S_ISFIFO(place.stat().st_mode)


def test_an_empty_file_and_an_older_trace_are_replaced(files: Path, call, tmp_path: Path) -> None:
    place = tmp_path / "t.npz"
    place.touch()
    for _ in range(2):
        call(0, "simulate", files / "chip", "--input", files / "static.npz", "--trace", place)
        assert zipfile.is_zipfile(place)


def test_no_digit_of_a_count_is_cut() -> None:
    """A rich table that is too wide for its console cuts numbers with an ellipsis."""
    many = dict.fromkeys(COUNT_KEYS, 987_654_321_987_654)
    layers = [{"name": f"a.long.name.of.layer{i}", "kind": "conv2d", "size": 1, **many} for i in range(2)]
    result = {"samples": 1, "timesteps": 4, "arithmetic": "loihi", "accuracy": None, "purity": "pure", "violations": []}
    text = simulate_text({**result, "layers": layers, "host_layers": [], "counts": many, "seconds": 1.0})
    assert text.count("987,654,321,987,654") == 3 * 7
    assert "…" not in text


def test_a_failed_run_keeps_the_older_trace(files: Path, call, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "t.npz").write_bytes(b"PK older")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    words = ["simulate", files / "chip", "--input", files / "static.npz", "--trace", tmp_path / "t.npz"]
    error = call(2, *words)
    assert (error["code"], "MiB cannot be written: No space left" in error["message"]) == ("ND110", True)
    assert listing(tmp_path) == {"t.npz": b"PK older"}


def test_a_missing_encoder_is_said(files: Path, call, tmp_path: Path) -> None:
    copy = shutil.copytree(files / "chip", tmp_path / "chip")
    (copy / "encoder.nir").unlink()
    error = call(2, "simulate", copy, "--input", files / "static.npz")
    assert (error["code"], "encoder.nir" in error["message"]) == ("ND103", True)


@pytest.mark.parametrize("name", ["network.nir", "encoder.nir", "compile.json"])
def test_an_artifact_that_was_changed_is_not_run(name: str, files: Path, call, tmp_path: Path) -> None:
    copy = shutil.copytree(files / "chip", tmp_path / "chip")
    with (copy / name).open("ab") as stream:
        stream.write(b"\n")
    words = ["simulate", copy, "--input", files / "static.npz", "--trace", tmp_path / "t.npz"]
    error = call(4, *words)
    assert (error["code"], error["message"].endswith(f": {name}")) == ("ND402", True)
    assert [path.name for path in tmp_path.iterdir()] == ["chip"]


def test_the_chips_part_alone_is_told_from_the_whole(files: Path, call, capsys, tmp_path: Path) -> None:
    with np.load(files / "chip" / "golden.npz") as golden:
        np.savez(tmp_path / "x.npz", x=golden["input"])
    words = ["simulate", str(files / "chip" / "network.nir"), "--input", str(tmp_path / "x.npz")]
    assert run(words) == 0
    notice = capsys.readouterr().err
    assert "encoder.nir beside it runs on the host" in notice
    assert notice.rstrip().endswith(str(files / "chip"))
    for whole in (files / "chip", files / "artifact" / "network.nir"):
        assert run(["simulate", str(whole), "--input", str(files / "static.npz")]) == 0
        assert capsys.readouterr().err == ""


def test_a_split_is_of_a_data_set(files: Path, call) -> None:
    error = call(2, "simulate", files / "chip", "--input", files / "static.npz", "--split", "train")
    assert (error["code"], error["where"]) == ("ND100", "--split")


# ---------------------------------------------------------------------------------------------------------------------
# how a foreign file's time constants become steps


def one_leaky_neuron(folder: Path, tau: float, threshold: float) -> tuple[Path, Path]:
    """A file with one LIF as Sinabs writes it, and an input of 3 for 20 steps."""
    numbers = {"tau": tau, "r": 1.0, "v_leak": 0.0, "v_threshold": threshold, "v_reset": 0.0}
    nodes = {
        "in": nir.Input({"input": np.array([1])}),
        "lif": nir.LIF(**{key: np.full(1, value) for key, value in numbers.items()}),
        "out": nir.Output({"output": np.array([1])}),
    }
    nir.write(folder / "one.nir", nir.NIRGraph(nodes, [("in", "lif"), ("lif", "out")]))
    np.savez(folder / "three.npz", x=np.full((1, 20, 1), 3.0, np.float32))
    return folder / "one.nir", folder / "three.npz"


def test_multi_spikes_and_exact_decay_from_the_command_line(tmp_path: Path, call) -> None:
    """v = a·v + (1 − a)·3 with a = exp(−1/5), ⌊v/0.25⌋ spikes a step, each takes 0.25: counted by hand below."""
    model, inputs = one_leaky_neuron(tmp_path, tau=5.0, threshold=0.25)
    options = ["--dt", "1", "--discretize", "exp", "--spikes", "multi", "--trace", tmp_path / "t.npz"]
    call(0, "simulate", model, "--input", inputs, "--arithmetic", "float64", *options)
    a, v, expected = np.exp(-0.2), 0.0, []
    for _ in range(20):
        v = a * v + (1 - a) * 3
        expected.append(np.floor(v / 0.25))
        v -= expected[-1] * 0.25
    assert max(expected) > 1
    with np.load(tmp_path / "t.npz") as trace:
        np.testing.assert_array_equal(trace["spikes/lif"].reshape(-1), expected)


def test_a_file_in_other_units_is_doubted_on_stderr(tmp_path: Path, capsys) -> None:
    model, inputs = one_leaky_neuron(tmp_path, tau=5.0, threshold=0.25)
    assert run(["simulate", str(model), "--input", str(inputs)]) == 0
    assert "counts time in steps (Sinabs) pass --dt 1" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--discretize", "exp"], ["--spikes", "multi"]])
def test_new_options_on_a_file_of_ours_win_with_a_notice(options, files: Path, capsys) -> None:
    words = ["simulate", str(files / "chain.nir"), "--input", str(files / "static.npz"), *options]
    assert run(words) == 0
    assert f"{' '.join(options)} overrules the file, which says" in capsys.readouterr().err


def test_check_says_how_a_file_was_read(tmp_path: Path, files: Path, call) -> None:
    """The same notices as findings (ND126), from the command that compiles."""
    model, _ = one_leaky_neuron(tmp_path, tau=5.0, threshold=0.25)
    for file, options, says in ((model, [], "--dt 1"), (files / "chain.nir", ["--compare", "gt"], "--compare gt")):
        findings = call(0, "check", file, "--target", "nir", *options)["findings"]
        assert [f["rule"] for f in findings if f["code"] == "ND126" and says in f["rule"]]
    again = call(0, "check", model, "--target", "nir", "--dt", "1e-4")["findings"]
    assert "ND126" not in [f["code"] for f in again]
