"""Builds the compiled kernels of the event engine; everything else is in pyproject.toml.

The kernels are plain C behind ctypes, compiled once for each instruction set that they know. Where there is no compiler
(or it cannot do one of the sets) the installation goes on without: the engine then runs Numba kernels, slower, with the
same numbers. The libraries know nothing of the Python version, so their names do not carry it.
"""

from __future__ import annotations

import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = Path("neurodeploy/sim/native")
#: -ffp-contract=off: a fused multiply-add would round once where the canonical float order rounds twice.
COMMON = ["-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fwrapv", "-Wall", "-Wextra", "-Wno-psabi"]
AVX512 = ["f", "bw", "dq", "vl", "cd", "vbmi", "vbmi2", "vpopcntdq", "bitalg", "vnni"]
X86 = {
    "avx512": [*(f"-mavx512{feature}" for feature in AVX512), "-mbmi", "-mbmi2", "-mprefer-vector-width=512"],
    "avx2": ["-mavx2", "-mbmi", "-mbmi2", "-mpopcnt"],
}
SETS = X86 if platform.machine().lower() in ("x86_64", "amd64") else {"generic": []}


class BuildKernels(build_ext):
    """One shared library for each instruction set."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"


setup(
    ext_modules=[
        Extension(
            f"neurodeploy.sim.native.kernels_{name}",
            sorted(map(str, SOURCES.glob("*.c"))),
            depends=sorted(map(str, SOURCES.glob("*.h"))),
            extra_compile_args=[*COMMON, *flags],
            optional=True,
        )
        for name, flags in SETS.items()
    ],
    cmdclass={"build_ext": BuildKernels},
)
