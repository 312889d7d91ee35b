"""Memory that is used again: never while somebody holds the array, a view of it, or anything else that reads it."""

from __future__ import annotations

import gc
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from graphs import paper_chain, random_input

from neurodeploy.sim.engine import Engine, Result
from neurodeploy.sim.memory import Memory

SIZE = 1 << 15
VIEWS = {
    "slice": lambda a: a[1:2],
    "reshaped, transposed, stepped": lambda a: a.reshape(8, -1).T[3:, ::2],
    "another type": lambda a: a.view(np.int32)[-1:],
    "view of a view of a view": lambda a: a[8:][:-8].reshape(-1, 8).view(np.int64)[::-1],
    "broadcast": lambda a: np.broadcast_to(a, (3, *a.shape)),
    "windows": lambda a: np.lib.stride_tricks.sliding_window_view(a, 4),
    "subclass": lambda a: a.view(np.recarray),
    "buffer": memoryview,
    "array of a buffer": lambda a: np.asarray(memoryview(a)[5:]),
    "array from a buffer": lambda a: np.frombuffer(a, np.int16),
    "base": lambda a: a[2:].base,
    "iterator": iter,
    "flat": lambda a: a.flat,
    "address": lambda a: a.ctypes,
}


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((SIZE,), "u1"), ((7, 3000), "i4"), ((5, 11, 600), "f8"), ((3,), "i2"), ((0, 4), "i8"), ((), "f4")],
)
def test_arrays_are_as_asked(shape, dtype):
    array = Memory(small=64).empty(shape, dtype)
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.nbytes < 64 or address(array) % 64 == 0


def test_memory_that_nobody_holds_is_used_again():
    memory = Memory()
    first = memory.empty((SIZE,), np.uint8)
    where = address(first)
    del first
    again = memory.empty((SIZE // 4,), np.int32)  # as many bytes
    assert address(again) == where
    assert address(memory.empty((SIZE // 4,), np.int32)) != where


@pytest.mark.parametrize("view", list(VIEWS))
def test_whoever_holds_a_view_holds_the_memory(view):
    memory = Memory()
    array = memory.empty((SIZE,), np.uint8)
    where, held = address(array), VIEWS[view](array)
    del array
    gc.collect()
    others = [memory.empty((SIZE,), np.uint8) for _ in range(3)]
    assert all(abs(address(other) - where) >= SIZE for other in others)
    del held
    gc.collect()
    assert address(memory.empty((SIZE,), np.uint8)) == where


def test_arrays_outlive_the_memory_that_gave_them():
    memory = Memory()
    array = memory.empty((SIZE,), np.uint8)
    array[:] = 5
    del memory
    gc.collect()
    others = [Memory().empty((SIZE,), np.uint8) for _ in range(20)]
    for other in others:
        other[:] = 6
    assert (array == 5).all()


def test_random_holders():
    """Arrays, and views of views, given and dropped in any order: two that are held at a time share no byte."""
    rng = np.random.default_rng(0)
    memory, held, reused, seen = Memory(small=256), [], 0, set()
    for number in range(3000):
        if held and rng.random() < 0.49:
            array, what = held.pop(int(rng.integers(len(held))))
            assert (array == what).all()
        else:
            array = memory.empty((int(rng.choice([100, 300, 1000])),), np.int16)
            reused += address(array) in seen
            seen.add(address(array))
            array[:] = number
            held.append((array[1:][::2] if rng.random() < 0.5 else array, number))
    assert reused > 1000


def test_arrays_that_other_threads_drop():
    """Every thread has a memory of its own; what it gives is read, and dropped, elsewhere."""
    handed: queue.SimpleQueue[tuple[np.ndarray, int] | None] = queue.SimpleQueue()
    wrong: list[int] = []

    def give(number: int) -> None:
        memory = Memory(small=64)
        for turn in range(300):
            array = memory.empty((400,), np.int32)
            array[:] = number * 1000 + turn
            handed.put((array[3:], number * 1000 + turn))

    def take() -> None:
        kept: list[tuple[np.ndarray, int]] = []
        while (item := handed.get()) is not None:
            kept.append(item)
            if len(kept) > 5:
                array, what = kept.pop(len(kept) // 2)
                wrong.extend({what} if (array != what).any() else ())
        wrong.extend(what for array, what in kept if (array != what).any())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads take turns often
    try:
        takers = [threading.Thread(target=take) for _ in range(2)]
        for taker in takers:
            taker.start()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(give, range(4)))
        for _ in takers:
            handed.put(None)
        for taker in takers:
            taker.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


@pytest.mark.parametrize(
    "how", [{"tile": 1}, {"tile": 32}, {"tile": 3, "threads": 3}, {"tile": 1, "keep_spikes": False}]
)
def test_later_runs_leave_results_alone(how):
    """What a run gave is the caller's, however often the engine runs again."""
    graph = paper_chain(1, width=16, real=False)
    engine = Engine(graph)
    x = random_input(graph, 0, samples=24, timesteps=4)

    def arrays(result: Result) -> list[np.ndarray]:
        return [result.output, result.totals, *result.spikes.values(), *result.membrane.values()]

    keep = {"keep_spikes": True, "keep_membrane": how.get("keep_spikes", True)} | how
    first = engine.run(x, 4, **keep)
    before = [array.copy() for array in arrays(first)]
    for seed in range(3):
        engine.run(random_input(graph, seed, samples=24, timesteps=4), 4, **keep)
    for array, was in zip(arrays(first), before, strict=True):
        np.testing.assert_array_equal(array, was)
    for array in arrays(first):
        if array.flags.writeable:
            array[...] = 1  # nor does the engine read it again
    for array, was in zip(arrays(engine.run(x, 4, **keep)), before, strict=True):
        np.testing.assert_array_equal(array, was)
