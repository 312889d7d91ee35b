"""The clock: contenders take turns, the median of their turns counts; and the memory that a run takes."""

from __future__ import annotations

import ctypes
import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Run = Callable[[], object]
#: A turn repeats a call until it takes about this long: the clock of a process ticks in steps, and a call right behind
#: another contender's finds its weights thrown out of the caches.
TURN_SECONDS = 0.04
MOST_CALLS = 50


@dataclass(frozen=True)
class Times:
    """Seconds of one call, one entry per turn."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def over(self, other: Times) -> tuple[float, float, float]:
        """The ratio of the medians, and the quartiles of the ratios turn by turn."""
        turns = sorted(a / b for a, b in zip(self.seconds, other.seconds, strict=True))
        return self.median / other.median, turns[len(turns) // 4], turns[-1 - len(turns) // 4]


def interleaved(
    runs: Mapping[str, Run], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, Times]:
    """Times of every contender: A B C, A B C, …; every turn begins with a call that is not counted."""
    calls = {}
    for name, run in runs.items():
        run()
        began = clock()
        run()
        calls[name] = min(MOST_CALLS, max(1, math.ceil(TURN_SECONDS / max(clock() - began, 1e-6))))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name, run in runs.items():
                run()
                began = clock()
                for _ in range(calls[name]):
                    run()
                seconds[name].append((clock() - began) / calls[name])
    finally:
        gc.enable()
    return {name: Times(tuple(values)) for name, values in seconds.items()}


def peak_bytes(build: Callable[[], Run], *, compiles: bool = False) -> int | None:
    """Memory that a simulator takes at most: the peak of its second run above what was held before it was built.

    So its own copy of the weights and what it keeps between runs count. What is loaded once in a process must have been
    loaded: build and run another one first. ``compiles``: above what it held after its first run, for one that compiles
    there. None where the system does not tell.
    """
    try:
        _give_back()
        before = _status("VmRSS")
        run = build()
        run()
        if compiles:
            _give_back()
            before = _status("VmRSS")
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak begins anew
        run()
        return max(0, _status("VmHWM") - before)
    except OSError:
        return None


def _give_back() -> None:
    """Freed memory goes back to the system, where the C library can do that."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(key: str) -> int:
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(key))
