"""``manifest.json``, ``metrics.jsonl`` and ``evaluation.json`` of a run, checked as they are read. No torch.

A file that is missing, is cut off, or holds something else than training writes is ND107, with the file and the way
out. Keys that are not named here are let through: a later version may add some.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from neurodeploy.diagnostics import UsageError
from neurodeploy.files import MANIFEST

METRICS = "metrics.jsonl"
EVALUATION = "evaluation.json"

#: A run without evaluation.json resumes, and makes both files from last/state.pt.
_REMAKE = f"delete {EVALUATION} and run the same `neurodeploy train` again: it makes both anew"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Manifest(_Part):
    """The keys of ``manifest.json`` that are read again; all others are kept."""

    model_config = ConfigDict(extra="allow")

    git: dict[str, Any] | None = None
    data: dict[str, str] = {}


class Epoch(_Part):
    """One line of ``metrics.jsonl``."""

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    quantization_error: float | None
    firing_rate: float | None
    seconds: float


class MembraneHistogram(_Part):
    """``u_pre`` of a layer, in equal bins from ``low`` to ``high``."""

    low: float
    high: float
    counts: tuple[int, ...]
    below: int
    above: int


class LayerResult(_Part):
    """A hidden LIF in ``evaluation.json``."""

    name: str
    quantization_error: float
    firing_rate: float
    firing_rate_per_timestep: tuple[float, ...]
    membrane_histogram: MembraneHistogram


class Best(_Part):
    """The epoch of the highest test accuracy: chosen on the test set, so a side note and not the result."""

    epoch: int
    accuracy: float


class Result(_Part):
    """``evaluation.json``: what ``training/evaluate.py`` measured after the last epoch.

    An ANN has no spikes: ``quantization_error`` and ``firing_rate`` are None and ``layers`` is empty.
    """

    accuracy: float
    samples: int
    quantization_error: float | None
    firing_rate: float | None
    layers: tuple[LayerResult, ...]
    best: Best | None = None


_Kind = TypeVar("_Kind", bound=_Part)


def read_manifest(run: Path) -> dict[str, Any]:
    """All of ``manifest.json``, of which the keys of :class:`Manifest` are checked."""
    path = run / MANIFEST
    return _parse(Manifest, _bytes(path), path).model_dump(exclude_unset=True)


def read_metrics(run: Path) -> tuple[Epoch, ...]:
    """The epochs of a run, in order."""
    path = run / METRICS
    return tuple(_parse(Epoch, line, path) for line in _bytes(path).splitlines() if line.strip())


def read_evaluation(run: Path) -> Result:
    """What a finished run was measured at."""
    path = run / EVALUATION
    return _parse(Result, _bytes(path), path)


def unreadable(path: Path, what: str, fix: str = "train it again with --fresh, or restore the file") -> UsageError:
    """ND107."""
    return UsageError("ND107", what, where=str(path), fix=fix)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror or error}") from error


def _parse(kind: type[_Kind], text: bytes, path: Path) -> _Kind:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        why = f"{first['msg']} at {key}" if key else first["msg"]
        raise _refused(path, f"is not as neurodeploy writes it: {why}") from error


def _refused(path: Path, why: str) -> UsageError:
    what = f"the run's {path.name} {why}"
    return unreadable(path, what) if path.name == MANIFEST else unreadable(path, what, _REMAKE)
