"""Options that several commands share."""

from __future__ import annotations

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


def foreign_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--input-kind`` and ``--dt``: what a foreign ``.nir`` file leaves open when it is compiled."""
    function = click.option("--dt", type=float, help="Seconds per step of a foreign file.  [default: 1e-4]")(function)
    return click.option(
        "--input-kind",
        type=click.Choice(["binary", "integer", "real"]),
        help="What enters a foreign file's first layer: spikes need no encoder.  [default: as the file says; real]",
    )(function)


def refuse_existing_folder(path: Path | None, option: str) -> None:
    """A file to write must not be a folder (ND100), nor lie behind a file (ND110): said before the work, not after."""
    from neurodeploy.diagnostics import UsageError
    from neurodeploy.files import refuse_file_on_the_way

    if path is None:
        return
    refuse_file_on_the_way(path)
    if path.is_dir():
        raise UsageError("ND100", f"{option} is a folder", where=str(path), fix="give a file name")
