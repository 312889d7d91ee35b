"""``estimate`` takes a Trace, simulate's JSON and the arrays of ``--trace``: the same counts, the same energy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from graphs import paper_chain, random_input

from neurodeploy.diagnostics import UsageError
from neurodeploy.energy import counted, estimate
from neurodeploy.passes.fold_pool import fold_pool
from neurodeploy.sim.run import simulate
from neurodeploy.sim.trace import Trace
from neurodeploy.targets.artifact import Runnable


@pytest.fixture(scope="module")
def trace() -> Trace:
    graph = fold_pool(paper_chain(real=False))
    cores = {"lif1": 1, "lif2": 2, "readout": 1}
    return simulate(Runnable(graph, None, cores, True, "here"), random_input(graph, 3), keep_spikes=True)


def test_all_sources_give_the_same_energy(trace: Trace, tmp_path: Path) -> None:
    result = trace.to_json()
    (tmp_path / "counts.json").write_text(json.dumps({"schema": "neurodeploy.simulate/1", "result": result}))
    np.savez(tmp_path / "trace.npz", **trace.arrays())
    by_hand = estimate(trace.layers, "loihi", samples=3, timesteps=4)
    assert by_hand.dynamic.pj > 0
    assert estimate(trace, "loihi") == by_hand
    assert estimate(result, "loihi") == by_hand
    assert estimate({"result": result}, "loihi") == by_hand
    assert estimate(tmp_path / "counts.json", "loihi") == by_hand
    from_arrays = estimate(tmp_path / "trace.npz", "loihi")
    assert from_arrays.by_term() == by_hand.by_term()
    assert from_arrays.unpriced_keys() == by_hand.unpriced_keys(), "hops are not in the arrays, and unknown they stay"


def test_rates_are_those_of_the_trace(trace: Trace, tmp_path: Path) -> None:
    np.savez(tmp_path / "trace.npz", **trace.arrays())
    spikes = sum(int(array.sum()) for array in trace.spikes.values()) / 3
    for source in (trace, trace.to_json(), tmp_path / "trace.npz"):
        found = counted(source)
        assert found.spiking_neurons() == 2 * 4 * 64
        assert found.spikes() == pytest.approx(spikes)


def test_layers_alone_do_not_say_their_samples(trace: Trace) -> None:
    with pytest.raises(ValueError, match="samples and timesteps"):
        estimate(trace.layers, "loihi")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"samples": 3}, "layers, timesteps missing"),
        ({"layers": [{"sop": 1}], "samples": 1, "timesteps": 1}, "without a name"),
        ({"layers": [{"name": "conv1", "sop": 1.5}], "samples": 1, "timesteps": 1}, "`conv1`: sop is 1.5"),
        ({"layers": [{"name": "conv1", "sop": -1}], "samples": 1, "timesteps": 1}, "`conv1`: sop is -1"),
    ],
)
def test_what_holds_no_counts_is_refused(broken: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        estimate(broken, "loihi")
    assert refused.value.code == "ND103"


def test_files_without_counts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    (tmp_path / "b.json").write_text("{")
    np.savez(tmp_path / "c.npz", x=np.zeros(3))
    for name in ("a.json", "b.json", "c.npz", "missing.npz", "missing.json"):
        with pytest.raises(UsageError) as refused:
            estimate(tmp_path / name, "loihi")
        assert (refused.value.code, refused.value.where) == ("ND103", str(tmp_path / name))
