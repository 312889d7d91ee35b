"""What goes into a simulation: checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
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
    """``x`` and optional ``y`` of an ``--input`` file."""
    from neurodeploy.targets.artifact import read_npz

    arrays = read_npz(path, what="input")
    if "x" not in arrays:
        raise UsageError(
            "ND105",
            f"the input file has no array `x`; it has {', '.join(sorted(arrays)) or 'nothing'}",
            where=str(path),
            fix="numpy.savez(path, x=array of shape (B, T, *shape) or (B, *shape), y=labels)",
        )
    x, y = arrays["x"], arrays.get("y")
    if x.ndim == 0 or (y is not None and y.shape != x.shape[:1]):
        found = f"`x` has shape {x.shape}" + ("" if y is None else f", `y` {y.shape}")
        raise UsageError(
            "ND105", f"{found}: the first axis of both is the batch", where=str(path), fix="one label per sample in y"
        )
    return x, y


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
    shape = node.shape
    x = np.asarray(x)
    static = x.shape[1:] == shape
    if not static and x.shape[2:] != shape:
        raise UsageError(
            "ND105",
            f"the input has shape {x.shape}, the network takes {_wanted(shape)}",
            where="x",
            fix="reshape the input; the first axis is the batch",
        )
    if x.shape[0] == 0:
        raise UsageError("ND105", "the input has no samples", where="x", fix="give at least one sample")
    if x.dtype.kind not in "biuf":
        raise UsageError("ND105", f"the input has dtype {x.dtype}", where="x", fix="give numbers")
    if static:
        x = x[:, None]
        steps = timesteps if timesteps is not None else known_timesteps
        if steps is None:
            raise UsageError(
                "ND118",
                "the number of timesteps is not known: the file does not say",
                where="x",
                fix="pass --timesteps T",
            )
    else:
        steps = x.shape[1]
        if timesteps is not None and timesteps != steps:
            raise UsageError(
                "ND105",
                f"the input has {steps} timesteps, --timesteps says {timesteps}",
                where="x",
                fix=f"drop --timesteps, or give a static input of shape (B, {', '.join(map(str, shape))})",
            )
    if steps < 1:
        raise UsageError("ND118", f"{steps} timesteps", where="--timesteps", fix="at least 1")
    _check_values(x, node.values, double)
    if y is not None:
        y = np.asarray(y)
        if y.shape != (x.shape[0],) or y.dtype.kind not in "biu":
            raise UsageError(
                "ND105",
                f"the labels are {y.dtype} of shape {y.shape}; {x.shape[0]} integers are needed",
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
    return Inputs(x, int(steps), static, y)


def _wanted(shape: Shape) -> str:
    return f"(B, {', '.join(map(str, shape))}) or (B, T, {', '.join(map(str, shape))})"


def _check_values(x: np.ndarray, kind: str, double: bool) -> None:
    if x.dtype.kind == "f" and not np.all(np.isfinite(x)):
        raise UsageError("ND108", "the input holds nan or infinity", where="x", fix="clean the data")
    largest = float(np.max(np.abs(x.astype(np.float64)))) if kind == "real" and not double else 0.0
    if largest > float(np.finfo(np.float32).max):
        raise UsageError(
            "ND108",
            f"the input holds {largest:g}, more than float32 can",
            where="x",
            fix="scale the data, or --arithmetic float64",
        )
    if kind == "real":
        return
    wrong = (x != 0) & (x != 1) if kind == "binary" else (x < 0) | (x != np.trunc(x))
    if np.any(wrong):
        first = x[wrong].flat[0]
        what = "0 and 1" if kind == "binary" else "whole numbers from 0"
        raise UsageError(
            "ND108",
            f"the network takes {what} only; {int(wrong.sum())} of {x.size} values are not, the first is {first:g}",
            where="x",
            fix="encode the input as spikes; a foreign file can be simulated with --input-kind real",
        )
