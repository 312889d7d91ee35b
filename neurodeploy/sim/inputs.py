"""What goes into a simulation: checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.nodes import Input, Shape


@dataclass(frozen=True)
class Inputs:
    """``x`` is ``(B, T, *shape)``, or ``(B, 1, *shape)`` for a static input; ``y`` labels or None."""

    x: np.ndarray
    timesteps: int
    static: bool
    y: np.ndarray | None = None


def load_inputs(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """``x`` and optional ``y`` of an ``--input`` file, all of it."""
    from neurodeploy.targets.artifact import read_npz

    arrays = read_npz(path, what="input")
    if "x" not in arrays:
        raise no_x(path, arrays)
    x, y = arrays["x"], arrays.get("y")
    check_batch_axis(path, x.shape, y)
    return x, y


def no_x(path: Path, names: Iterable[str]) -> UsageError:
    """An ``--input`` file without ``x`` (ND105)."""
    return UsageError(
        "ND105",
        f"the input file has no array `x`; it has {', '.join(sorted(names)) or 'nothing'}",
        where=str(path),
        fix="numpy.savez(path, x=array of shape (B, T, *shape) or (B, *shape), y=labels)",
    )


def check_batch_axis(path: Path, shape: Shape, y: np.ndarray | None) -> None:
    """``x`` of ``shape`` has a first axis, and ``y`` has that axis too (ND105)."""
    if not shape or (y is not None and y.shape != shape[:1]):
        found = f"`x` has shape {shape}" + ("" if y is None else f", `y` {y.shape}")
        axis = "the first axis is the batch" if y is None else "the first axis of both is the batch"
        fix = "one label per sample in y" if shape else "x of shape (B, T, *shape) or (B, *shape)"
        raise UsageError("ND105", f"{found}: {axis}", where=str(path), fix=fix)


def check_inputs(
    x: np.ndarray,
    y: np.ndarray | None,
    node: Input,
    timesteps: int | None,
    known_timesteps: int | None,
    *,
    classes: int | None = None,
    double: bool = False,
) -> Inputs:
    """Shape, values and timesteps of an input for a network whose Input is ``node``.

    Args:
        x: ``(B, T, *shape)`` or ``(B, *shape)`` (repeated over T).
        y: Labels or None.
        node: The network's Input: shape and value kind.
        timesteps: T asked for, or None.
        known_timesteps: T of the file, or None.
        classes: Number of outputs: labels lie below it.
        double: The run computes in float64; otherwise values must be finite in float32.

    Raises:
        UsageError: Wrong shape (ND105), values that the kind does not allow (ND108), no T (ND118).
    """
    x = np.asarray(x)
    steps, static = check_form(x.shape, x.dtype, node, timesteps, known_timesteps)
    values = ValueCheck(node.values, double)
    values.add(x)
    values.finish()
    y = check_labels(y, x.shape[0], classes)
    return Inputs(x[:, None] if static else x, steps, static, y)


def check_form(
    given: Shape, dtype: np.dtype, node: Input, timesteps: int | None, known_timesteps: int | None
) -> tuple[int, bool]:
    """``(T, whether the input is static)`` of an array of shape ``given``; arguments as :func:`check_inputs`.

    Raises:
        UsageError: Wrong shape or dtype (ND105), no T (ND118).
    """
    shape = node.shape
    static = given[1:] == shape
    if not static and given[2:] != shape:
        raise UsageError(
            "ND105",
            f"the input has shape {given}, the network takes {_wanted(shape)}",
            where="x",
            fix="reshape the input; the first axis is the batch",
        )
    if given[0] == 0:
        raise UsageError("ND105", "the input has no samples", where="x", fix="give at least one sample")
    if dtype.kind not in "biuf":
        raise UsageError("ND105", f"the input has dtype {dtype}", where="x", fix="give numbers")
    if static:
        steps = timesteps if timesteps is not None else known_timesteps
        if steps is None:
            raise UsageError(
                "ND118",
                "the number of timesteps is not known: the file does not say",
                where="x",
                fix="pass --timesteps T",
            )
    else:
        steps = given[1]
        if timesteps is not None and timesteps != steps:
            raise UsageError(
                "ND105",
                f"the input has {steps} timesteps, --timesteps says {timesteps}",
                where="x",
                fix=f"drop --timesteps, or give a static input of shape (B, {', '.join(map(str, shape))})",
            )
    if steps < 1:
        raise UsageError("ND118", f"{steps} timesteps", where="--timesteps", fix="at least 1")
    return int(steps), static


def check_labels(y: np.ndarray | None, samples: int, classes: int | None) -> np.ndarray | None:
    """One integer per sample, each from 0 to ``classes`` - 1 (ND105)."""
    if y is None:
        return None
    y = np.asarray(y)
    if y.shape != (samples,) or y.dtype.kind not in "biu":
        raise UsageError(
            "ND105",
            f"the labels are {y.dtype} of shape {y.shape}; {samples} integers are needed",
            where="y",
            fix="one integer per sample",
        )
    if classes is not None and (y.min() < 0 or y.max() >= classes):
        raise UsageError(
            "ND105",
            f"the labels go from {y.min()} to {y.max()}; the network has {classes} outputs",
            where="y",
            fix=f"labels from 0 to {classes - 1}",
        )
    return y


def _wanted(shape: Shape) -> str:
    return f"(B, {', '.join(map(str, shape))}) or (B, T, {', '.join(map(str, shape))})"


@dataclass
class ValueCheck:
    """What an Input of a kind allows, over values that come in parts; :meth:`finish` says what is wrong with them all.

    Attributes:
        kind: ``binary``, ``integer`` or ``real``.
        double: The run computes in float64; otherwise values must be finite in float32.
    """

    kind: str
    double: bool
    _finite: bool = field(default=True, init=False)
    _largest: float = field(default=0.0, init=False)
    _wrong: int = field(default=0, init=False)
    _size: int = field(default=0, init=False)
    _first: float = field(default=0.0, init=False)

    def add(self, x: np.ndarray) -> None:
        """Look at some values."""
        if x.dtype.kind == "f":
            self._finite = self._finite and bool(np.all(np.isfinite(x)))
        if not self._finite or not x.size:
            return
        self._size += x.size
        if self.kind == "real":
            if not self.double:
                self._largest = max(self._largest, abs(float(x.max())), abs(float(x.min())))
            return
        wrong = (x != 0) & (x != 1) if self.kind == "binary" else (x < 0) | (x != np.trunc(x))
        if np.any(wrong):
            self._first = self._first if self._wrong else float(x[wrong].flat[0])
            self._wrong += int(wrong.sum())

    def finish(self) -> None:
        """Refuse (ND108) what was seen."""
        if not self._finite:
            raise UsageError("ND108", "the input holds nan or infinity", where="x", fix="clean the data")
        if self._largest > float(np.finfo(np.float32).max):
            raise UsageError(
                "ND108",
                f"the input holds {self._largest:g}, more than float32 can",
                where="x",
                fix="scale the data, or --arithmetic float64",
            )
        if self._wrong:
            what = "0 and 1" if self.kind == "binary" else "whole numbers from 0"
            raise UsageError(
                "ND108",
                f"the network takes {what} only; {self._wrong} of {self._size} values are not, the first is "
                f"{self._first:g}",
                where="x",
                fix="encode the input as spikes; a foreign file can be simulated with --input-kind real",
            )
