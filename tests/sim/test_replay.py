"""Tiles whose kernels are called again without Python between them: the same bits and counts as step by step."""

from __future__ import annotations

import numpy as np
import pytest

from neurodeploy.ir.graph import Graph
from neurodeploy.sim.engine import Result
from neurodeploy.sim.native.arrays import kernels

needs_kernels = pytest.mark.skipif(kernels() is None, reason="no compiled kernels here")


def counts(result: Result) -> dict[str, dict[str, object]]:
    return {row.name: {k: None if v is None else v.tolist() for k, v in row.per_step.items()} for row in result.layers}


def inputs(graph: Graph, samples: int, timesteps: int, seed: int) -> np.ndarray:
    shape = graph.shapes[graph.input]
    return (np.random.default_rng(seed).random((samples, timesteps, *shape)) < 0.3).astype(np.uint8)
