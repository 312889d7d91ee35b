"""The fields of one node of a NIR file, checked as they are taken: every value of a stranger passes here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.nodes import Shape


@dataclass(frozen=True)
class Fields:
    """One node: its name, its NIR type, its fields, and our notes in its metadata.

    ``notes`` is empty where neurodeploy did not write the file.
    """

    name: str
    kind: str
    values: Mapping[str, Any]
    notes: Mapping[str, Any]

    def refuse(self, what: str, fix: str = "write the file again with nir >= 1.0.8", code: str = "ND104") -> UsageError:
        """The error for a field that cannot be."""
        return UsageError(code, f"`{self.name}`: {what}", where=self.name, fix=fix)

    def array(self, key: str, default: float | None = None) -> np.ndarray:
        """A field of finite numbers."""
        value = self.values.get(key)
        if value is None:
            if default is None:
                raise self.refuse(f"it has no {key}")
            return np.asarray(default)
        array = self._numbers(key, value)
        if not np.all(np.isfinite(array)):
            fix = "write the file again from a network whose training did not diverge"
            raise self.refuse(f"{key} holds nan or infinity", fix)
        return array

    def _numbers(self, key: str, value: Any) -> np.ndarray:
        """The array; half precision and truth values become float32, whose products and sums are defined here."""
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise self.refuse(f"{key} holds {array.dtype}, not real numbers")
        if array.size == 0:
            raise self.refuse(f"{key} is empty")
        if array.dtype.kind == "b" or array.dtype == np.float16:
            return array.astype(np.float32)
        return array.astype(np.float64) if array.dtype.itemsize > 8 else array

    def spread(self, key: str, shape: Shape, default: float | None = None) -> np.ndarray:
        """A parameter in float64, broadcast to ``shape``: a scalar, one number, one per channel, or one per neuron.

        Axes of length 1 in front are an exporter's batch axis. ``(C,)`` beside ``(C, H, W)`` is one per channel, unless
        it could also be one per column.
        """
        array = self.array(key, default).astype(np.float64)
        given = array.shape
        while array.ndim > len(shape) and array.shape[0] == 1:
            array = array[0]
        if array.size == 1:
            return np.broadcast_to(array.reshape(()), shape)
        if array.ndim == 1 and len(shape) > 1 and array.shape == shape[:1]:
            if shape[0] == shape[-1] and np.any(array != array[0]):
                what = f"{key} has shape {given}: one per channel or one per column of {shape}?"
                raise self.refuse(what, f"give it the shape {(shape[0], *(1,) * (len(shape) - 1))}", "ND105")
            array = array.reshape(-1, *(1,) * (len(shape) - 1))
        try:
            return np.broadcast_to(array, shape)
        except ValueError:
            what = f"{key} of this {self.kind} has shape {given}, got {shape}"
            raise self.refuse(what, "give one number, one per channel, or one per neuron", "ND105") from None

    def whole(self, key: str, count: int, least: int, default: int | None = None) -> tuple[int, ...]:
        """``count`` whole numbers of at least ``least``; one number stands for all."""
        value = self.values.get(key)
        if value is None:
            if default is None:
                raise self.refuse(f"it has no {key}")
            value = default
        array = self.array(key) if value is not default else np.asarray(value)
        flat = array.reshape(-1)
        if flat.size not in (1, count) or np.any(flat != np.floor(flat)):
            raise self.refuse(
                f"{key} is {flat.tolist()}", f"give {'one whole number' if count == 1 else 'two whole numbers'}"
            )
        numbers = tuple(int(n) for n in np.broadcast_to(flat, (count,)))
        if min(numbers) < least:
            raise self.refuse(f"{key} is {numbers if count > 1 else numbers[0]}", f"at least {least}")
        return numbers

    def shape(self, key: str) -> Shape | None:
        """A shape, None where the file leaves it out or gives it no axes."""
        value = self.values.get(key)
        if value is None or np.size(value) == 0:
            return None
        flat = self.array(key).reshape(-1)
        if np.any(flat != np.floor(flat)) or np.any(flat < 1):
            raise self.refuse(f"its shape is {flat.tolist()}", "whole numbers of at least 1")
        return tuple(int(n) for n in flat)

    def word(self, key: str, known: tuple[str, ...]) -> str:
        """A word of our notes; the first of ``known`` where they leave it out."""
        said = self.notes.get(key, known[0])
        if said not in known:
            raise self.refuse(f"its notes say {key} = {said!r}", " or ".join(known))
        return str(said)
