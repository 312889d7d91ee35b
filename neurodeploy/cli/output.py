"""What every command shares: ``--json`` and ``--quiet``, the JSON envelope, notices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from neurodeploy.diagnostics import NeurodeployError

Function = TypeVar("Function", bound=Callable[..., Any])


def output_options(function: Function) -> Function:
    """Add ``--json`` (arguments ``as_json``) and ``--quiet`` to a command."""
    function = click.option("--quiet", is_flag=True, help="No progress and no notices on standard error.")(function)
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")(function)


def document(command: str, result: dict[str, Any]) -> dict[str, Any]:
    """The envelope around a result."""
    return {"schema": f"neurodeploy.{command}/1", "command": command, "result": result}


def error_document(command: str, error: NeurodeployError) -> dict[str, Any]:
    """The envelope around an error."""
    return {"schema": f"neurodeploy.{command or 'cli'}/1", "command": command, "error": error.to_json()}


def emit(command: str, result: dict[str, Any], as_json: bool, render: Callable[[dict[str, Any]], str]) -> None:
    """Print a result: the JSON envelope, or the text that ``render`` makes of it."""
    if as_json:
        from neurodeploy.files import jsonable

        say(json.dumps(document(command, result), indent=2, default=jsonable))
    else:
        say(render(result))


def say(text: str) -> None:
    """Print on standard output.

    Raises:
        UsageError: It cannot be written to, because the disk behind it is full, for example (ND110).
    """
    from neurodeploy.files import writing

    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError:
        with writing(Path("standard output")):
            raise


def notice(message: str, quiet: bool) -> None:
    """One line on standard error, unless ``--quiet``."""
    if not quiet:
        click.echo(f"note: {message}", err=True)
