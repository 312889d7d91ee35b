"""Neuron updates: the compiled kernels against the Numba kernels, same numbers in, same spikes asserted.

Prints the ratio of their times for every kind of update, one thread, T timesteps of a 16 x 32 x 32 population (samples
one after the other in the same array), the two interleaved, medians of process CPU time; and how many neuron-steps the
compiled kernel does in the time in which memory copies one byte from cache to cache (``bytes.copy`` of the same input),
which says how far it is from moving its data.

    python benchmarks/neuron_kernels.py [--steps 4] [--samples 1]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from neurodeploy.sim import neuron_kernels
from neurodeploy.sim.native import describe, neurons
from neurodeploy.sim.native.arrays import kernels

SHAPE = (32, 32, 16)
ROUNDS = 25


def seconds(work: Callable[[], object], repeats: int) -> float:
    """CPU time of one call."""
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats


def measure(name: str, numba: Callable[[], object], compiled: Callable[[], object], x: np.ndarray) -> None:
    """One line: ratios of medians, measured in turn."""
    copy = np.empty_like(x)
    works = (numba, compiled, lambda: np.copyto(copy, x))
    repeats = max(1, 2_000_000 // x.size)
    times = np.array([[seconds(work, repeats) for work in works] for _ in range(ROUNDS)])
    slow, fast, copied = np.median(times, axis=0)
    print(f"{name:34} {slow / fast:8.1f} x   {fast / copied:8.2f} copies of the input")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--samples", type=int, default=1)
    given = parser.parse_args()
    found = kernels()
    print(describe())
    if found is None:
        raise SystemExit("no compiled kernels to compare with")
    rng = np.random.default_rng(0)
    shape = (given.steps, given.samples, *SHAPE)
    rows = (given.steps, given.samples, int(np.prod(SHAPE)))
    a = rng.integers(-3000, 3000, shape).astype(np.int32)
    bias = np.array(np.broadcast_to(rng.integers(-50, 50, SHAPE[-1]), SHAPE))
    spikes, other, fired = np.empty(shape, np.uint8), np.empty(rows, np.uint8), np.zeros(given.steps, np.int64)
    state, nothing = np.zeros((1, rows[2]), np.int32), np.empty((0, 0, 0), np.int32)
    print(f"{'update':34} {'compiled':>8}")
    for name, factor in (("integers, no leak", 4096), ("integers, decay 1/4", 1024), ("integers, any decay", 3277)):
        kernel = neurons.integer_neuron(found, bias, factor, 2000 << 6, wraps=False, reads=False)
        flat = bias.reshape(-1).astype(np.int64)

        def numba(factor: int = factor, flat: np.ndarray = flat) -> None:
            neuron_kernels.neuron_integer(a.reshape(rows), flat, factor, 2000 << 6, state, other, nothing)

        def compiled(kernel: neurons.Kernel = kernel) -> None:
            kernel.run([a], given.steps, (None, spikes, None), (fired.ctypes.data, None))

        state[:] = 0  # of one sample the Numba kernel carries it on
        numba()
        compiled()
        assert np.array_equal(spikes.reshape(rows), other)
        measure(name, numba, compiled, a)
    x, u = a.astype(np.float32) / 2000, state.astype(np.float32)
    parameters = [np.full(SHAPE, p, np.float32) for p in (0.25, 1.0, 0.0, 0.5, 0.0)]
    lif = neurons.float_lif(found, parameters, at_threshold=True, subtracts=False)
    flat_parameters = [p.reshape(-1) for p in parameters]
    none = nothing.astype(np.float32)

    def numba_float() -> None:
        neuron_kernels.lif_float(x.reshape(rows), *flat_parameters, True, False, u, other, none)

    def compiled_float() -> None:
        lif.run([x], given.steps, (None, spikes, None), (fired.ctypes.data, None))

    u[:] = 0
    numba_float()
    compiled_float()
    assert np.array_equal(spikes.reshape(rows), other)
    measure("float32, decay 1/4", numba_float, compiled_float, x)


if __name__ == "__main__":
    main()
