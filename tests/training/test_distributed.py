"""Two gloo processes under torchrun against one process with the same batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from neurodeploy.config.recipe import load_recipe
from neurodeploy.diagnostics import UsageError
from neurodeploy.training.distributed import World
from neurodeploy.training.preflight import refuse_batch_too_small

#: One step: the whole training set is one batch, of which the processes take 719 and 718 samples.
ONE_STEP = ["--set", "net.width=16", "--set", "train.epochs=1", "--set", "data.batch=1437"]


def command(*arguments: str, processes: int, cwd: Path) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "neurodeploy"]
    if processes > 1:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        launch = [*torchrun, "-m", "neurodeploy"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launch, "train", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


#: Trains in float64, where no potential lies within a rounding of the threshold: one that fires elsewhere is an error.
DOUBLE = """
import sys
from neurodeploy.config.recipe import load_recipe
from neurodeploy.training import evaluate, loop

build, time_first = loop.build, loop.time_first
loop.build = lambda recipe: build(recipe).double()
for module in (loop, evaluate):
    module.time_first = lambda x, **how: time_first(x.double(), **how)
overrides = ["net.width=4", "train.epochs=1", "data.batch=1437"]
loop.train(load_recipe("digits/conv-rmp", overrides), sys.argv[1])
"""


def launched(script: Path, out: Path, processes: int) -> dict:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    subprocess.run(
        [*torchrun, str(script), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return torch.load(out / "last" / "state.pt", weights_only=True)


@pytest.mark.slow
def test_one_step_of_two_processes_is_one_step_of_one_in_float64(tmp_path) -> None:
    (tmp_path / "double.py").write_text(DOUBLE)
    alone, shared = (launched(tmp_path / "double.py", tmp_path / f"p{n}", n) for n in (1, 2))
    for term in ("train_loss", "train_cross_entropy", "train_rmp", "test_loss", "quantization_error"):
        assert shared["metrics"][0][term] == pytest.approx(alone["metrics"][0][term], rel=1e-10)
    for name, value in alone["model"].items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(shared["model"][name], value, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.slow
def test_two_processes_by_the_command(tmp_path) -> None:
    """float32: loss and weights within 1e-6 of one process; sums over samples are taken in two parts."""
    runs = {}
    for processes in (1, 2):
        done = command(
            "digits/mlp-rmp", *ONE_STEP, "--out", f"p{processes}", "--json", processes=processes, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)  # one document: rank 1 prints nothing
        assert done.stderr.count("epoch 1/1") == 1
        metrics = json.loads((tmp_path / f"p{processes}" / "metrics.jsonl").read_text())
        manifest = json.loads((tmp_path / f"p{processes}" / "manifest.json").read_text())
        assert manifest["processes"] == processes
        runs[processes] = (metrics, load_file(tmp_path / f"p{processes}" / "model.safetensors"))
    (alone, weights), (shared, others) = runs[1], runs[2]
    assert shared["train_loss"] == pytest.approx(alone["train_loss"], rel=1e-6)
    assert shared["train_accuracy"] == alone["train_accuracy"]
    largest = max(float(value.abs().max()) for value in weights.values())
    assert max(float((weights[name] - others[name]).abs().max()) for name in weights) <= 1e-6 * largest


@pytest.mark.slow
def test_an_interrupted_run_of_two_processes_resumes(tmp_path) -> None:
    """Two epochs at once, and one epoch, stopped, then the second: the same bits."""
    many = ["digits/mlp-rmp", "--set", "net.width=16", "--set", "train.epochs=2", "--set", "data.batch=256", "--quiet"]
    whole = command(*many, "--out", "whole", processes=2, cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    code = (
        "import os, signal, sys\n"
        "from neurodeploy.training import loop\n"
        "from neurodeploy.config.recipe import load_recipe\n"
        "def at(progress):\n"
        "    if (progress.epoch, progress.step) == (2, 2): os.kill(os.getpid(), signal.SIGINT)\n"
        "recipe = load_recipe('digits/mlp-rmp', ['net.width=16', 'train.epochs=2', 'data.batch=256'])\n"
        "try: loop.train(recipe, 'cut', progress=at)\n"
        "except KeyboardInterrupt: print('stopped')\n"
    )
    (tmp_path / "cut.py").write_text(code)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "cut.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    stopped = subprocess.run(
        torchrun, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert stopped.stdout.count("stopped") == 2, "one process was asked, both stop"
    state = torch.load(tmp_path / "cut" / "last" / "state.pt", weights_only=True)
    assert (state["epoch"], state["sums"]["step"]) == (1, 3)
    assert command(*many, "--out", "cut", processes=2, cwd=tmp_path).returncode == 0
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_shards_cover_a_batch_once() -> None:
    batch = np.arange(103)
    shards = [World(rank, 4).shard(batch) for rank in range(4)]
    assert np.array_equal(np.concatenate(shards), batch)
    assert {len(shard) for shard in shards} == {25, 26}


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    recipe = load_recipe("digits/mlp-vanilla", ["data.batch=4"])
    refuse_batch_too_small(recipe, 40, World(0, 4))
    with pytest.raises(UsageError, match="a batch of 1 of the 41 samples cannot be shared by 4") as caught:
        refuse_batch_too_small(recipe, 41, World(0, 4))
    assert (caught.value.code, caught.value.where) == ("ND102", "data.batch")
