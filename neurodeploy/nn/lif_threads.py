"""The LIF kernels on the threads of torch: C functions of a table of addresses, run by torch's own OpenMP workers.

Why not threads of our own: after each operation torch's workers spin for a while, waiting for the next one. Threads
beside them (Python threads, Numba's work queue) find the cores taken, and two of them were slower than one behind a
convolution. Numba's OpenMP layer wakes a second team with a second runtime, needs that runtime in the system's library
path, and otherwise falls back to a queue that ends the process when two threads use it at once. Asking the OpenMP
runtime that torch is linked with is as fast as the best of these and leaves one team. Where it does not answer to
``GOMP_parallel`` (the entry of GCC's runtime, which LLVM's and Intel's have too on Linux), one thread does the work.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import torch
from numba import cfunc, types

from neurodeploy.nn import lif_kernels as kernels

#: Surrogate name -> number in the kernels.
KINDS = kernels.KINDS

#: Numbers read and written below which a second thread costs more than it saves.
PARALLEL_FROM = 1 << 17

_FORWARD = {torch.float32: kernels.forward_task_f32, torch.bfloat16: kernels.forward_task_bf16}
_BACKWARD = {torch.float32: kernels.backward_task_f32, torch.bfloat16: kernels.backward_task_bf16}
#: What the kernels can take.
DTYPES = frozenset(_FORWARD)


def run_forward(dtype: torch.dtype, neurons: int, steps: int, reals: tuple[float, ...], *rest: int) -> None:
    """One of the forward tasks; ``reals`` is τ, V_th, below, above; ``rest`` from entry 4 of its table on."""
    _run(_compiled(_FORWARD[dtype]), neurons, steps, reals, rest)


def run_backward(dtype: torch.dtype, neurons: int, steps: int, reals: tuple[float, ...], *rest: int) -> None:
    """One of the backward tasks, as :func:`run_forward`; the address of the polynomial is added here."""
    _run(_compiled(_BACKWARD[dtype]), neurons, steps, reals, (*rest, kernels.SECH2.ctypes.data))


def _run(task: Any, neurons: int, steps: int, reals: tuple[float, ...], rest: tuple[int, ...]) -> None:
    parallel = _openmp().get("GOMP_parallel")
    threads = torch.get_num_threads() if parallel is not None and neurons * steps >= PARALLEL_FROM else 1
    real = (ctypes.c_float * 4)(*reals)
    table = (ctypes.c_int64 * (4 + len(rest)))(neurons, steps, threads, ctypes.addressof(real), *rest)
    # Calls through ctypes release the GIL.
    if threads > 1 and parallel is not None:
        parallel(task, table, threads, 0)
    else:
        task(table)


def self_test() -> None:
    """One neuron, one step: raises where Numba cannot compile here."""
    x, o = (ctypes.c_float * 1)(1.0), (ctypes.c_float * 1)(0.0)
    run_forward(torch.float32, 1, 1, (0.25, 0.5, 0.0, 0.0), ctypes.addressof(x), 1, 0, ctypes.addressof(o))
    if o[0] != 1:
        raise RuntimeError("the kernel's spike is wrong")


@cache
def _openmp() -> dict[str, Any]:
    """The functions we need of the runtime that torch is linked with; empty where one is missing."""
    names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
    try:
        # Symbols of a library's dependencies are found through it.
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        found: dict[str, Any] = {name: getattr(library, name) for name in names}
    except (OSError, AttributeError):
        return {}
    found["GOMP_parallel"].argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    found["GOMP_parallel"].restype = None
    return found


@cfunc(types.int32())
def _never_called():  # type: ignore[no-untyped-def]
    return 0


@cache
def _compiled(task: Callable[..., None]) -> Any:
    """The task as a C function; compiled at its first use ever, then read from Numba's cache."""
    openmp = _openmp()
    for name in ("omp_get_thread_num", "omp_get_num_threads"):
        # The symbols must exist also where only one thread will run, which asks neither.
        function: Any = _never_called.address if not openmp else ctypes.cast(openmp[name], ctypes.c_void_p).value
        llvmlite.binding.add_symbol(kernels.PREFIX + name, function)
    compiled: Any = cfunc(kernels.TASK, cache=True)(task)
    call: Any = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(compiled.address)
    call.compiled = compiled  # its code lives as long as this object
    return call
