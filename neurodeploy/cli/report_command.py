"""``neurodeploy report``: compare runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from neurodeploy.cli.output import emit, notice, output_options
from neurodeploy.diagnostics import UsageError

if TYPE_CHECKING:
    from neurodeploy.reporting.model import Report

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("report", short_help="Compare runs: accuracy, quantization error, operations, energy.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("--target", default="loihi2", show_default=True, help="Target that the runs are compared on.")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="P",
    help="Hardware profile to price with, a name or a .toml file; repeatable.  [default: loihi, truenorth, cmos45]",
)
@click.option("--allow-proxy", is_flag=True, help="Let another chip's prices stand in where a profile names one.")
@click.option("--no-export", is_flag=True, help="What training measured only: export and simulate nothing.")
@click.option("--html", type=_FILE, help="Write the page here: one file, no network.")
@click.option("--markdown", type=_FILE, help="Write all tables as Markdown.")
@click.option("--csv", "csv_folder", type=_FOLDER, help="Write one CSV file for each table into this folder.")
@click.option("--figures", "figures_folder", type=_FOLDER, help="Write each figure as SVG and PNG into this folder.")
@click.option("--data-root", type=_FOLDER, envvar="NEURODEPLOY_DATA", show_envvar=True, help="Folder of datasets.")
@output_options
def command(
    runs: tuple[str, ...],
    target: str,
    profiles: tuple[str, ...],
    allow_proxy: bool,
    no_export: bool,
    html: Path | None,
    markdown: Path | None,
    csv_folder: Path | None,
    figures_folder: Path | None,
    data_root: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compare RUNs; the first is the baseline.

    A RUN is a folder or a name under runs/. A folder of seeds (train --seeds) is one group: mean ± standard deviation.
    What is missing is exported and simulated first, and kept for the next report.
    A network that the target does not take is reported in float, with the reason. A run of a recipe that stands for a
    published figure is shown beside it, with what differs.

    Example: neurodeploy report digits-conv-vanilla digits-conv-rmp --html report.html
    """
    from neurodeploy.reporting import DEFAULT_PROFILES, report
    from neurodeploy.reporting.text import report_text
    from neurodeploy.targets.base import load_target, refuse_check_only

    if html is not None and markdown is not None and html.resolve() == markdown.resolve():
        raise click.UsageError(f"--html and --markdown name the same file: {html}")
    refuse_check_only(load_target(target))
    made = report(
        *runs,
        target=target,
        profiles=profiles or DEFAULT_PROFILES,
        allow_proxy=allow_proxy,
        data_root=data_root,
        export=not no_export,
        progress=lambda line: notice(line, quiet),
    )
    for path, content in _files(made, html, markdown, csv_folder, figures_folder):
        _write(path, content())
        notice(f"wrote {path}", quiet)
    emit("report", made.to_json(), as_json, lambda _: report_text(made))


def _files(
    made: Report, html: Path | None, markdown: Path | None, csv_folder: Path | None, figures_folder: Path | None
) -> list[tuple[Path, Callable[[], str | bytes]]]:
    """Every file that was asked for, with what makes its content."""
    from neurodeploy.reporting import plain

    files: list[tuple[Path, Callable[[], str | bytes]]] = []
    if html is not None:
        from neurodeploy.reporting.html import page

        files.append((html, lambda: page(made)))
    if markdown is not None:
        files.append((markdown, lambda: plain.markdown(made)))
    if csv_folder is not None:
        files += [(csv_folder / name, _constant(text)) for name, text in plain.csv_files(made).items()]
    if figures_folder is not None:
        from neurodeploy.reporting.figures import figures

        for name, figure in figures(made).items():
            files += [(figures_folder / f"{name}.svg", figure.file), (figures_folder / f"{name}.png", figure.png)]
    return files


def _constant(text: str) -> Callable[[], str]:
    return lambda: text


def _write(path: Path, content: str | bytes) -> None:
    from neurodeploy.files import write_atomic

    data = content.encode() if isinstance(content, str) else content

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    try:
        write_atomic(path, write)
    except OSError as error:
        raise UsageError(
            "ND110", f"the file cannot be written: {error.strerror}", where=str(path), fix="choose another place"
        ) from error
