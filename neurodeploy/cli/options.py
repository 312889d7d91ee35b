"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def data_root_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--data-root``, by default ``NEURODEPLOY_DATA``."""
    return click.option(
        "--data-root",
        type=click.Path(path_type=Path),
        envvar="NEURODEPLOY_DATA",
        help="Folder with data sets.  [default: $NEURODEPLOY_DATA]",
    )(function)


def file_option(*names: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that takes a path."""
    return click.option(*names, type=click.Path(path_type=Path), **settings)


#: Option of a foreign file -> the values it takes (None: a number), and its help.
_FOREIGN: dict[str, tuple[tuple[str, ...] | None, str]] = {
    "--input-kind": (
        ("binary", "integer", "real"),
        "What enters the first layer: spikes are counted as operations and need no encoder, real values as MACs.  "
        "[default: as the file says; real]",
    ),
    "--dt": (None, "Seconds per step of a foreign file.  [default: 1e-4]"),
    "--reset": (("zero", "subtract", "v_reset"), "Reset of a foreign file's neurons.  [default: v_reset]"),
    "--compare": (("ge", "gt"), "Fire at (ge) or above (gt) the threshold.  [default: gt]"),
    "--discretize": (
        ("euler", "exp"),
        "Decay of a step: 1 - dt/tau, or exp(-dt/tau), exact for an input held during the step.  [default: euler]",
    ),
    "--spikes": (
        ("single", "multi"),
        "Spikes per neuron and step; multi: floor(u/threshold), each subtracting the threshold.  [default: single]",
    ),
}


def foreign_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a foreign ``.nir`` file leaves open, as one argument ``options``, a
    :class:`~neurodeploy.ir.read_options.ReadOptions`."""

    @functools.wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        from neurodeploy.ir.read_options import ReadOptions

        keys = [flag[2:].replace("-", "_") for flag in _FOREIGN]
        return function(*args, options=ReadOptions(**{key: given.pop(key) for key in keys}), **given)

    for flag, (values, text) in reversed(_FOREIGN.items()):
        kind = float if values is None else click.Choice(values)
        command = click.option(flag, type=kind, help=text)(command)
    return command


def refuse_existing_folder(path: Path | None, option: str) -> None:
    """A file to write must not be a folder (ND100), nor lie behind a file (ND110): said before the work, not after."""
    from neurodeploy.diagnostics import UsageError
    from neurodeploy.files import refuse_file_on_the_way

    if path is None:
        return
    refuse_file_on_the_way(path)
    if path.is_dir():
        raise UsageError("ND100", f"{option} is a folder", where=str(path), fix="give a file name")
