"""The comparison behind "Why the kernels are C": its kernel in C is right, and its lines are counted as it says.

The two in Numba are compared with the same product whenever the comparison runs; compiling them takes too long here.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "kernel_languages"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """Imports a file of the comparison, anew for every test."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    yield load
    for name in ("layer", "c_with_ctypes", "compare"):
        sys.modules.pop(name, None)


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_the_kernel_in_c_is_the_dense_product(module, monkeypatch, tmp_path, rate: float) -> None:
    monkeypatch.setenv("KERNEL_LANGUAGES_CACHE", str(tmp_path))
    layer = module("layer").make_layer(rate, channels=64, pixels=5, steps=2)
    layer.out[...] = -1
    module("c_with_ctypes").add_events(layer.starts, layer.events, layer.weight, layer.out)
    assert (layer.out == layer.expected).all()
    assert layer.expected.any() == (rate > 0)
    if rate == 1.0:  # 5x5 pixels, 3x3 taps, less the border: (3·5 − 2)² taps in all
        assert layer.operations == 2 * 13 * 13 * 64 * 64


def test_lines_of_code(module, tmp_path) -> None:
    count = module("compare").lines_of_code
    (tmp_path / "a.py").write_text(
        '"""Docstring\nof two lines."""\n\n# comment\nx = [1,\n     2]  # two\n\ndef f():\n    """Doc."""\n'
    )
    assert count(tmp_path / "a.py") == 3
    (tmp_path / "a.c").write_text("/* a\n comment */\n\nint x; /* one */\nint y;\n")
    assert count(tmp_path / "a.c") == 2
