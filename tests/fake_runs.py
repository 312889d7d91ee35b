"""Made-up runs with the files that training writes, and stand-ins for export and simulation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurodeploy.config.recipe import load_recipe
from neurodeploy.data import load
from neurodeploy.diagnostics import UnsupportedError
from neurodeploy.files import sha256
from neurodeploy.reporting import collect
from neurodeploy.reporting.features import Features, principal
from neurodeploy.reporting.fits import Fit
from neurodeploy.sim.trace import COUNT_KEYS, LayerCounts, Trace

T = 4
SAMPLES = 360
#: name, neurons, kernel fan-out
LAYERS = (("lif1", 1024, 9 * 32), ("lif2", 512, 9 * 64), ("lif3", 256, 10))


#: On one chip that takes everything and one that does not.
FITS = (
    Fit("loihi2", True, 778, 58_112, 5, 1, "lif2", ""),
    Fit("truenorth", False, None, None, None, None, None, "ND259 the membrane decays (and 1 more)"),
)

#: What each method adds to the recipe ``digits/conv-vanilla``.
METHODS: dict[str, list[str]] = {
    "vanilla": [],
    "rmp": [],
    "laf": ["loss.laf.teacher=teacher"],
    "repact": ["repact.enabled=true"],
    "laf-repact": ["loss.laf.teacher=teacher", "repact.enabled=true"],
    "ann": ["timesteps=1", "neuron.kind=relu", "norm.kind=batchnorm"],
}


def make_run(
    path: Path,
    *,
    method: str = "vanilla",
    seed: int = 0,
    epochs: int = 6,
    overrides: Sequence[str] = (),
    recipe_name: str | None = None,
) -> Path:
    """A finished run. ``rmp`` has lower quantization error and slightly fewer spikes; ``ann`` has neither.

    ``recipe_name`` is what the manifest calls the recipe that was trained.
    """
    rng = np.random.default_rng([seed, method == "rmp"])
    accuracy = (353 + (0, 2, -1)[seed % 3] + (method == "rmp")) / SAMPLES
    path.mkdir(parents=True)
    shipped = "digits/conv-rmp" if method == "rmp" else "digits/conv-vanilla"
    recipe = load_recipe(shipped, [*METHODS[method], *overrides]).with_seed(seed)
    text = recipe.to_toml()
    (path / "recipe.toml").write_text(text)
    split = load(recipe.data, "test", timesteps=recipe.timesteps)
    manifest = {
        "git": {"commit": "0123456789abcdef", "modified": False},
        "neurodeploy_commit": "fedcba9876543210",
        "recipe": recipe_name or recipe.name,
        "data": {"name": "digits", "test": split.sha256},
        "data_note": split.note,
        "argv": ["neurodeploy", "train", recipe.name, "--seeds", "0,1,2"],
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "model.safetensors").write_bytes(hashlib.sha256(f"{method}{seed}".encode()).digest())
    factor = 0.5 if method == "rmp" else 1.0
    layers: list[dict[str, Any]] = []
    for index, (name, _, _) in enumerate(() if method == "ann" else LAYERS):
        spread = 0.32 * (0.8 if method == "rmp" else 1)
        u = np.concatenate([rng.normal(0.05, spread / 2, 6000), rng.normal(0.8, spread, 2500)])
        counts, _ = np.histogram(u, 60, (-1, 2))
        rates = [float(r) for r in (0.12 + 0.05 * index + rng.normal(0, 0.004, T)).clip(0.01)]
        layers.append(
            {
                "name": name,
                "quantization_error": factor * (0.06 + 0.02 * index) + rng.normal(0, 0.001),
                "firing_rate": sum(rates) / T,
                "firing_rate_per_timestep": rates,
                "membrane_histogram": {
                    "low": -1.0, "high": 2.0, "counts": counts.tolist(),
                    "below": int((u < -1).sum()), "above": int((u > 2).sum()),
                },
            }
        )  # fmt: skip
    evaluation = {
        "schema": "neurodeploy.evaluation/1",
        "accuracy": accuracy,
        "samples": SAMPLES,
        "quantization_error": sum(layer["quantization_error"] for layer in layers) / len(layers) if layers else None,
        "firing_rate": 0.15 if layers else None,
        "layers": layers,
        "best": {"epoch": epochs - 1, "accuracy": accuracy + 1 / SAMPLES},
    }
    (path / "evaluation.json").write_text(json.dumps(evaluation))
    lines = []
    for epoch in range(epochs):
        done = 1 - np.exp(-0.8 * (epoch + 1))
        lines.append(
            {
                "epoch": epoch + 1, "lr": 0.1, "train_loss": float(2.3 * (1 - done) + rng.random() * 0.02),
                "train_accuracy": float(done), "test_loss": 0.1, "test_accuracy": float(accuracy * done),
                "quantization_error": float(0.12 * (1 - (1 - factor) * done)) if layers else None,
                "firing_rate": 0.15 if layers else None, "seconds": 0.4,
            }
        )  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def make_group(path: Path, *, method: str = "vanilla", seeds: int = 3, **more: Any) -> Path:
    for seed in range(seeds):
        make_run(path / f"seed-{seed}", method=method, seed=seed, **more)
    return path


def fake_export(run: Path, target: str, data_root: Any, folder: Path) -> None:
    """What ``export`` leaves in a run, as far as a report reads it; RepAct and an ANN are refused, as by a chip."""
    recipe = load_recipe(run / "recipe.toml")
    if recipe.repact.enabled or recipe.neuron.kind == "relu":
        raise UnsupportedError("ND221", "paths of different length meet in lif2", where="lif2", fix="another target")
    folder.mkdir(exist_ok=True)
    (folder / "network.nir").write_bytes(b"graph of " + (run / "model.safetensors").read_bytes())
    (folder / "encoder.nir").write_bytes(b"encoder")
    compiled = {
        "passes": [], "findings": [], "chips": 1, "timesteps": T,
        "dense_macs": {"layers": {"conv1": 9216, "conv2": 147_456, "fc": 2560}, "additions": [], "recurrent": False},
        "resources": {
            "nodes": {
                name: {"neurons": neurons, "synapses": 9000, "synaptic_memory_bytes": 9216, "cores": 2,
                       "limited_by": "neurons"}
                for name, neurons, _ in LAYERS[1:]
            },
            "total": {"neurons": 778, "synapses": 213_000, "synaptic_memory_bytes": 58_112, "cores": 5},
        },
    }  # fmt: skip
    (folder / "compile.json").write_text(json.dumps(compiled))
    sign_export(folder, {"model.safetensors": sha256(run / "model.safetensors")})


def sign_export(folder: Path, source: dict[str, str]) -> None:
    """The manifest of an artifact as it is now."""
    files = {name: sha256(folder / name) for name in ("network.nir", "encoder.nir", "compile.json")}
    (folder / "manifest.json").write_text(json.dumps({"source": source, "files": files}))


def fake_trace(artifact: Path, samples: int, labels: np.ndarray | None) -> Trace:
    """Counts that depend on the run's bytes; the RMP runs spike a tenth less."""
    run = json.loads((artifact.parent / "evaluation.json").read_text())
    is_rmp = "rmp" in (artifact.parent / "recipe.toml").read_text()
    layers: list[LayerCounts] = []
    for index, (name, neurons, _) in enumerate(LAYERS[1:], start=1):
        rates = np.array(run["layers"][index]["firing_rate_per_timestep"]) * (0.9 if is_rmp else 1.0)
        spikes = (rates * neurons * samples).astype(np.int64)
        before = LAYERS[index - 1]
        incoming = np.array(run["layers"][index - 1]["firing_rate_per_timestep"]) * before[1] * samples
        incoming = (incoming * (0.9 if is_rmp else 1.0)).astype(np.int64)
        layers.append(
            counts(f"conv{index + 1}", "conv2d", neurons, sop=incoming * before[2], sop_nonzero=incoming * before[2])
        )
        active = np.full(T, int(0.9 * neurons * samples))
        layers.append(
            counts(name, "lif", neurons, neuron_updates_active=active, neuron_updates_idle=neurons * samples - active,
                   spikes_out=spikes, messages=spikes * 2, hops=None)
        )  # fmt: skip
    layers.append(counts("fc", "linear", 10, sop=spikes * LAYERS[-1][2], sop_nonzero=spikes * LAYERS[-1][2]))
    layers.append(counts("readout", "integrator", 10, neuron_updates_active=np.full(T, 10 * samples)))
    encoder = counts(
        "conv1", "conv2d", 1024, mac=np.full(T, 9 * 1024 * samples), mac_once=np.array([9 * 1024 * samples, 0, 0, 0])
    )
    lif1 = counts("lif1", "lif", 1024, spikes_out=np.full(T, 100 * samples))
    labels = np.zeros(samples, np.int64) if labels is None else labels
    predictions = labels.copy()
    wrong = round(samples * (1 - run["accuracy"])) + 1
    predictions[:wrong] = (predictions[:wrong] + 1) % 10
    return Trace(
        spikes={}, output=np.zeros((samples, T, 10)), predictions=predictions, layers=tuple(layers),
        host_layers=(encoder, lif1), timesteps=T, arithmetic="loihi", purity="pure", violations=(), seconds=0.1,
        labels=labels,
    )  # fmt: skip


def fake_features(artifact: Path, x: Any, labels: Any) -> Features:
    """Ten clouds, nearer to each other without RMP-Loss."""
    run = json.loads((artifact.parent / "evaluation.json").read_text())
    labels = np.asarray(labels)
    centers = np.random.default_rng(0).normal(size=(10, 16))
    spread = 4 * run["layers"][0]["quantization_error"] ** 0.5
    return principal(centers[labels] + np.random.default_rng(1).normal(0, spread, (len(labels), 16)), labels)


def counts(name: str, kind: str, size: int, **steps: Any) -> LayerCounts:
    """Counts of one node; what is not named is 0."""
    zero = np.zeros(T, np.int64)
    per_step = {
        key: (None if steps.get(key, 0) is None else np.asarray(steps.get(key, zero), np.int64)) for key in COUNT_KEYS
    }
    return LayerCounts(name, kind, size, per_step)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Replace export and simulation; how often each was called."""
    return stand_in(monkeypatch)


def stand_in(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """:func:`calls` for fixtures of a wider scope."""
    called = {"export": 0, "simulate": 0, "features": 0}

    def export(run: Path, target: str, data_root: Any, out: Path) -> None:
        called["export"] += 1
        fake_export(run, target, data_root, out)

    def simulate(artifact: Path, x: np.ndarray, labels: np.ndarray) -> Trace:
        called["simulate"] += 1
        return fake_trace(artifact, len(x), labels)

    def features(artifact: Path, x: np.ndarray, labels: np.ndarray) -> Features:
        called["features"] += 1
        return fake_features(artifact, x, labels)

    monkeypatch.setattr(collect, "_export", export)
    monkeypatch.setattr(collect, "_features", features)
    monkeypatch.setattr(collect, "_fits", lambda _: FITS)
    monkeypatch.setattr(collect, "_simulate", simulate)
    return called
