"""The command line: one file per command, thin: parse, call the library, render.

Results go to standard output, progress to standard error. With ``--json`` standard output holds exactly one JSON
object. Exit codes: 0 ok, 1 our bug, 2 usage or bad input, 3 does not fit or unsupported, 4 verification failed.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import click

from neurodeploy.cli.output import error_document
from neurodeploy.diagnostics import InternalError, NeurodeployError, UsageError, nearest

#: Command name -> help line. The module of the same name is imported only when the command runs.
COMMANDS = {
    "demo": "Train vanilla and RMP on digits, export, verify, simulate and report, in two minutes.",
    "train": "Train a recipe; an interrupted run resumes.",
    "check": "Say whether a model fits a target: all findings, cores, chips, memory.",
    "export": "Compile a model for a target and write an artifact with golden vectors.",
    "verify": "Replay an artifact's golden vectors in other simulators and count differences.",
    "simulate": "Run an exported network event by event, with exact counts.",
    "report": "Compare runs: accuracy, quantization error, firing rates, operations, energy.",
    "list": "List models, targets, profiles, datasets or passes.",
    "explain": "Print the page behind a diagnostic code.",
    "doctor": "Print the environment, ready to paste into an issue.",
}


class LazyGroup(click.Group):
    """Imports a command's module when it is used, so that ``--help`` appears at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"neurodeploy.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no such command: {args[0]}; {nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


#: Exit code after Ctrl-C, 128 + SIGINT as shells have it.
INTERRUPTED = 130


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="neurodeploy", prog_name="neurodeploy")
def cli() -> None:
    """Take a spiking network from training to a neuromorphic chip, and prove what it will do there."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code of the contract."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    code = run(arguments)
    if code == INTERRUPTED:  # everything is said and saved: an impatient second Ctrl-C changes nothing
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sys.stdout.flush()
    except OSError:  # what was printed reached nobody, as was said: the flush at exit must not fail once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except AttributeError:  # no standard output at all
        pass
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every error is one message."""
    as_json = "--json" in arguments
    command = next((word for word in arguments if word in COMMANDS), "")
    try:
        result = cli.main(args=arguments, prog_name="neurodeploy", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except NeurodeployError as error:
        return _fail(command, error, as_json)
    except click.ClickException as error:
        if as_json or not isinstance(error, click.UsageError):
            problem = UsageError(
                "ND100", error.format_message(), where=command, fix=f"neurodeploy {command} --help".replace("  ", " ")
            )
            return _fail(command, problem, as_json)
        error.show()
        return 2
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        return 0  # the reader (head, less) went away: not an error
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in ("torch", "torchvision"):
            return _fail(command, _without_torch(command, str(error.name)), as_json)
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or _is_cuda_memory(error):
            return _fail(command, _out_of_memory(command, error), as_json)
        if os.environ.get("NEURODEPLOY_DEBUG"):
            traceback.print_exc()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        bug = InternalError(
            "ND901",
            f"{type(error).__name__}: {error}",
            where=f"{os.path.basename(frame.filename)}:{frame.lineno}",
            fix="this is our bug: set NEURODEPLOY_DEBUG=1, run it again and report it with `neurodeploy doctor`",
        )
        return _fail(command, bug, as_json)


def _is_cuda_memory(error: Exception) -> bool:
    return type(error).__name__ == "OutOfMemoryError"


def _out_of_memory(command: str, error: Exception) -> UsageError:
    return UsageError(
        "ND125",
        f"not enough memory: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
        where=command,
        fix="a smaller data.batch, net.width, data.size or timesteps, or fewer samples at a time (--batch)",
    )


def _without_torch(command: str, name: str) -> UsageError:
    return UsageError(
        "ND124",
        f"this command needs {name}, which is not installed in this Python",
        where=command,
        fix="pip install neurodeploy here, or work from an artifact: simulate, verify and report need no torch",
    )


def _fail(command: str, error: NeurodeployError, as_json: bool) -> int:
    if int(os.environ.get("RANK", "0")) > 0:  # of torchrun's processes only the first speaks on standard output
        click.echo(f"process {os.environ['RANK']}: {error.code}: {error.message}", err=True)
    elif not (as_json and _told(json.dumps(error_document(command, error), indent=2))):
        from neurodeploy.reporting.text import error_text

        click.echo(error_text(error), err=True)
    return error.exit_code


def _told(text: str) -> bool:
    """Print on standard output; whether it could be written to."""
    try:
        click.echo(text)
    except OSError:
        return False
    return True
