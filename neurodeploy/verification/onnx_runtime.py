"""ONNX Runtime as an oracle: ``network.onnx`` of an artifact, or the same model made from its ``network.nir``.

One thread, operators in order, ONNX Runtime's own graph optimizations left on: what a user's session computes. Where
every sum is exact (loihi arithmetic, ``--exact``), ``network_step.onnx`` is stepped beside it, whose states are the
membranes and currents; elsewhere states differ by the order of the sums, and only spikes and outputs are compared.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.diagnostics import UnsupportedError, VerificationError
from neurodeploy.ir.graph import Graph
from neurodeploy.passes.exact_input import is_exact
from neurodeploy.targets.artifact import Artifact
from neurodeploy.targets.onnx_model import STEP, UNROLLED, one_step, onnx_findings, unrolled

#: Samples per call: bounds the memory, changes nothing else.
BATCH = 64


def lacking(artifact: Artifact) -> str:
    """Why ONNX Runtime cannot replay this artifact here; empty if it can."""
    for package in ("onnxruntime", "onnx"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: pip install {package}"
    if not (artifact.folder / UNROLLED).is_file():
        try:
            found = list(onnx_findings(artifact.network))
        except UnsupportedError as error:
            return f"this network has no ONNX form: {error.code}: {error.message}"
        if found:
            return f"this network has no ONNX form: {found[0].code}: {found[0].node or 'network'}: {found[0].rule}"
    return ""


def replay(artifact: Artifact, samples: int) -> dict[str, np.ndarray]:
    """The first ``samples`` golden inputs: ``output``, ``spikes/<node>`` and, where they are exact,
    ``membrane/<node>`` and ``current/<node>``, as ``--trace``.

    Raises:
        VerificationError: ONNX Runtime could not run the model, or its two forms differ (ND403).
    """
    x = artifact.golden["input"][:samples]
    graph = artifact.network
    try:
        found = OnnxModel(_model(artifact, graph, UNROLLED, x.shape[1])).run(x)
        if graph.arithmetic == "loihi" or is_exact(graph):
            stepped = OnnxModel(_model(artifact, graph, STEP, x.shape[1])).run_in_steps(x)
            different = [key for key, array in found.items() if not np.array_equal(array, stepped[key])]
            if different:
                raise ValueError(f"{STEP} and {UNROLLED} differ in {', '.join(different)}")
            found |= stepped
    except Exception as error:  # another project's code: whatever it raises is its verdict
        raise VerificationError(
            "ND403",
            f"ONNX Runtime could not run the artifact: {type(error).__name__}: {error}",
            where=str(artifact.folder / UNROLLED),
            fix="export again with this version, or leave out --with onnxruntime",
        ) from error
    return {key: _as_traced(key, array, graph.arithmetic) for key, array in found.items()}


def _model(artifact: Artifact, graph: Graph, name: str, timesteps: int) -> bytes:
    path = artifact.folder / name
    if path.is_file():
        return path.read_bytes()
    model = one_step(graph) if name == STEP else unrolled(graph, timesteps)
    return bytes(model.SerializeToString())


def _as_traced(key: str, array: np.ndarray, arithmetic: str) -> np.ndarray:
    """Spikes as uint8 and integers as int64, as the interpreter records them."""
    if key.startswith("spikes/"):
        return array.astype(np.int64).astype(np.uint8)
    return array.astype(np.int64) if arithmetic == "loihi" else array


class OnnxModel:
    """A session on a file or on a serialized model; deterministic."""

    def __init__(self, model: bytes | Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # its warnings are about its own optimizations
        source = model if isinstance(model, bytes) else str(model)
        self.session: Any = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self.outputs = [value.name for value in self.session.get_outputs()]

    def run(self, x: np.ndarray, outputs: list[str] | None = None) -> dict[str, np.ndarray]:
        """The unrolled form on ``(B, T, *shape)``: ``output`` and ``spikes/<node>``, or those of ``outputs``."""
        names = outputs or self.outputs
        parts = [self.session.run(names, {"input": part}) for part in _batches(x)]
        return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*parts, strict=True), strict=True)}

    def run_in_steps(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The step form on ``(B, T, *shape)`` from zero states: ``output``, ``spikes/<node>``, ``membrane/<node>``
        and ``current/<node>``, each ``(B, T, *shape)``."""
        parts = [self._one_batch(part) for part in _batches(x)]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _one_batch(self, x: np.ndarray) -> dict[str, np.ndarray]:
        states = {
            value.name: np.zeros((len(x), *value.shape[1:]), np.float32)
            for value in self.session.get_inputs()
            if value.name != "input"
        }
        kept: dict[str, list[np.ndarray]] = {}
        for t in range(x.shape[1]):
            found = dict(zip(self.outputs, self.session.run(None, {"input": x[:, t], **states}), strict=True))
            states = {name: found[name.replace("state/", "state_out/", 1)] for name in states}
            for name, array in found.items():
                kept.setdefault(_traced_name(name), []).append(array)
        return {name: np.stack(arrays, axis=1) for name, arrays in kept.items()}


def _traced_name(output: str) -> str:
    """``state_out/lif`` -> ``membrane/lif``, ``state_out/lif/current`` -> ``current/lif``; others keep their name."""
    if not output.startswith("state_out/"):
        return output
    node = output.removeprefix("state_out/")
    return f"current/{node.removesuffix('/current')}" if node.endswith("/current") else f"membrane/{node}"


def _batches(x: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(x), BATCH):
        yield x[start : start + BATCH].astype(np.float32)
