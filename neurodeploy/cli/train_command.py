"""``neurodeploy train``: train a recipe; an interrupted run resumes."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurodeploy.cli.output import emit, notice, output_options
from neurodeploy.diagnostics import UsageError

if TYPE_CHECKING:
    from neurodeploy.config.recipe import Recipe
    from neurodeploy.training.loop import Progress

#: Lines of progress for a run whose standard error is no terminal.
LINES = 5


@click.command("train", short_help="Train a recipe; an interrupted run resumes.")
@click.argument("recipe")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key: --set train.epochs=3")
@click.option("--seeds", metavar="LIST", help="Train once per seed, in OUT/seed-0, OUT/seed-1 …: --seeds 0,1,2")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. Default: runs/<recipe>, / as -.")
@click.option("--fresh", is_flag=True, help="Start over: delete the run that is there.")
@click.option("--dry-run", is_flag=True, help="Print the resolved recipe and the parameters; write nothing.")
@click.option("--device", default="cpu", show_default=True, help="Where to train: cpu, cuda, cuda:1.")
@click.option(
    "--data-root",
    envvar="NEURODEPLOY_DATA",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="Folder of datasets.",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Processes that prepare batches; the result does not depend on it.",
)
@click.option("--download", is_flag=True, help="Allow downloading a dataset that is missing.")
@output_options
def command(
    recipe: str,
    overrides: tuple[str, ...],
    seeds: str | None,
    out: Path | None,
    fresh: bool,
    dry_run: bool,
    device: str,
    data_root: Path | None,
    workers: int,
    download: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train RECIPE, a name (digits/conv-rmp) or a .toml file.

    A run that was interrupted goes on where it stopped, if the recipe is the same.

    Several processes share the work under torchrun: torchrun --nproc-per-node 2 -m neurodeploy train RECIPE
    """
    from neurodeploy.config.recipe import load_recipe
    from neurodeploy.training import distributed

    resolved = load_recipe(recipe, overrides)
    out = out or default_out(recipe)
    runs = [(resolved, out)]
    if seeds is not None:
        runs = [(resolved.with_seed(seed), out / f"seed-{seed}") for seed in parse_seeds(seeds)]
    if dry_run:
        if not distributed.is_main():
            return
        emit("train", _dry_run(resolved, [folder for _, folder in runs]), as_json, _dry_run_text)
        return
    refuse_mixture(out, several=seeds is not None)

    from neurodeploy.nn.allocator import keep_freed_memory

    keep_freed_memory()  # this process does nothing else
    quiet = quiet or not distributed.is_main()
    how = {"device": device, "data_root": data_root, "download": download, "fresh": fresh, "workers": workers}
    try:
        results = [train_shown(one, folder, quiet=quiet, **how) for one, folder in runs]
    finally:
        distributed.leave()
    if not distributed.is_main():
        return
    emit("train", results[0] if seeds is None else group(out, results), as_json, _text)


def train_shown(recipe: Recipe, folder: Path, *, quiet: bool, **how: Any) -> dict[str, Any]:
    """Train one run with progress on standard error; the result of the contract. ``how`` goes to ``train``."""
    from neurodeploy.training.interruption import SAVED
    from neurodeploy.training.loop import train

    with _Display(folder, quiet=quiet) as display:
        try:
            checkpoint = train(recipe, folder, progress=display.show, **how)
        except (KeyboardInterrupt, SystemExit) as interrupted:
            display.stop()
            kept = display.kept(within_epoch=isinstance(interrupted, SystemExit) or SAVED in interrupted.args)
            notice(f"stopped; {kept}; the same command resumes it", quiet)
            raise
    if display.idle:
        notice(f"{folder} is finished already; --fresh starts over", quiet)
    return result(checkpoint.folder)


def default_out(recipe: str) -> Path:
    """``runs/<recipe>`` with ``/`` as ``-``; of a file, its name without ``.toml``."""
    from neurodeploy.config.recipe import is_path

    return Path("runs") / (Path(recipe).stem if is_path(recipe) else recipe.replace("/", "-"))


def parse_seeds(text: str) -> list[int]:
    """``0,1,2`` as distinct numbers from 0."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words) or len({int(word) for word in words}) < len(words):
        raise click.BadParameter("a list of different whole numbers is needed, for example 0,1,2", param_hint="--seeds")
    return [int(word) for word in words]


def refuse_mixture(out: Path, *, several: bool) -> None:
    """ND109 for runs of seeds inside a single run, or the other way round."""
    from neurodeploy.training.checkpoint import is_run

    if several and is_run(out):
        raise UsageError("ND109", "the folder holds a single run", where=str(out), fix="another --out for --seeds")
    if not several and any(out.glob("seed-*/recipe.toml")):
        fix = "--seeds, or another --out"
        raise UsageError("ND109", "the folder holds runs of several seeds", where=str(out), fix=fix)


def result(folder: Path) -> dict[str, Any]:
    """The keys of the contract, from the files of a finished run."""
    from neurodeploy.training.run_files import read_evaluation, read_metrics

    evaluation, epochs = read_evaluation(folder), read_metrics(folder)
    return {
        "run": str(folder),
        "epochs": len(epochs),
        "accuracy": evaluation.accuracy,
        "quantization_error": evaluation.quantization_error,
        "firing_rate": evaluation.firing_rate,
        "seconds": round(sum(epoch.seconds for epoch in epochs), 3),
        "best": None if evaluation.best is None else evaluation.best.model_dump(),
    }


def group(out: Path, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Several seeds: each run, and mean and sample standard deviation (0 for one run) of what was measured."""
    keys = ("accuracy", "quantization_error", "firing_rate", "seconds")
    values = {key: [one[key] for one in results] for key in keys if results[0][key] is not None}
    return {
        "run": str(out),
        "epochs": results[0]["epochs"],
        "runs": results,
        **{key: statistics.fmean(values[key]) if key in values else None for key in keys},
        "std": {key: statistics.stdev(values[key]) if len(results) > 1 else 0.0 for key in values},
    }


def _text(outcome: dict[str, Any]) -> str:
    from neurodeploy.reporting.text import table

    def shown(value: float | None, form: str, std: float | None = None) -> str:
        if value is None:
            return "–"  # an ANN has no spikes
        return format(value, form) + ("" if std is None else f" ± {std:{form}}")

    def row(name: str, one: dict[str, Any], std: dict[str, float]) -> tuple[Any, ...]:
        spread = {key: std.get(key) for key in ("accuracy", "quantization_error", "firing_rate")}
        percent = None if spread["accuracy"] is None else 100 * spread["accuracy"]
        return (
            name,
            one["epochs"],
            shown(100 * one["accuracy"], ".2f", percent),
            "" if one.get("best") is None else f"{100 * one['best']['accuracy']:.2f} in {one['best']['epoch']}",
            shown(one["quantization_error"], ".4f", spread["quantization_error"]),
            shown(one["firing_rate"], ".3f", spread["firing_rate"]),
            f"{one['seconds']:.1f}",
        )

    rows = [row(one["run"], one, {}) for one in outcome.get("runs", [outcome])]
    if "runs" in outcome:
        rows.append(row("mean ± std", outcome, outcome["std"]))
    heads = ("run", "epochs", "test accuracy %", "best epoch", "quantization error", "firing rate", "seconds")
    return table("", heads, rows)


def _dry_run(recipe: Recipe, folders: list[Path]) -> dict[str, Any]:
    from neurodeploy.training.loop import dry_run

    return {
        "dry_run": True,
        "runs": [str(folder) for folder in folders],
        "parameters": dry_run(recipe),
        "recipe": recipe.model_dump(exclude_none=True),
        "toml": recipe.to_toml(),
    }


def _dry_run_text(outcome: dict[str, Any]) -> str:
    places = "".join(f"# would write {run}\n" for run in outcome["runs"])
    return f"{outcome['toml']}\n# {outcome['parameters']:,} parameters\n{places}".rstrip()


class _Display:
    """Progress on standard error: a bar on a terminal, else a line every few epochs, with ``--quiet`` nothing."""

    def __init__(self, folder: Path, *, quiet: bool) -> None:
        self.folder = folder
        self.quiet = quiet
        self.idle = True
        self.finished = 0  # epochs
        self.step = 0  # of the next
        self.epochs = 0
        self.began = (0.0, 0)  # clock and steps done at the first report
        self._advance: Callable[[Progress], None] | None = None
        self._bar: Any = None

    def __enter__(self) -> _Display:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self._advance = None

    def kept(self, *, within_epoch: bool) -> str:
        """What of the run is on disk; ``within_epoch`` when it was saved behind its last step."""
        if not self.epochs:
            return "nothing was begun"
        inside = f" and {self.step} steps of the next" if within_epoch and self.step else ""
        return f"{self.finished} of {self.epochs} epochs{inside} are kept in {self.folder}"

    def show(self, progress: Progress) -> None:
        if self.idle:
            self.idle = False
            self.epochs = progress.epochs
            self.finished = progress.epoch - 1
            self.began = (time.monotonic(), _steps_done(progress))
            if self.finished or progress.step:
                inside = f", step {progress.step} of {progress.steps}" if progress.step else ""
                notice(f"{self.folder}: going on after epoch {self.finished} of {self.epochs}{inside}", self.quiet)
            if not self.quiet and sys.stderr.isatty():
                self._start_bar(progress)
        self.step = progress.step
        if progress.metrics is not None:
            self.finished, self.step = progress.epoch, 0
        if self._advance is not None:
            self._advance(progress)
        elif progress.metrics is not None and not self.quiet:
            every = max(1, progress.epochs // LINES)
            if progress.epoch % every == 0 or progress.epoch == progress.epochs:
                pace = self._pace(progress)
                click.echo(
                    f"{self.folder}  epoch {progress.epoch}/{progress.epochs}  {_figures(progress)}  {pace}", err=True
                )

    def _pace(self, progress: Progress) -> str:
        clock, steps = self.began
        rate = (_steps_done(progress) - steps) / max(time.monotonic() - clock, 1e-9)
        left = progress.epochs * progress.steps - _steps_done(progress)
        minutes, seconds = divmod(round(left / rate), 60) if rate else (0, 0)
        return f"{rate:.1f} steps/s  {minutes}:{seconds:02d} left"

    def _start_bar(self, first: Progress) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
        )
        task = bar.add_task(
            str(self.folder), total=first.epochs * first.steps, completed=_steps_done(first), rate="", figures=""
        )

        def advance(progress: Progress) -> None:
            bar.update(task, completed=_steps_done(progress))
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.1f} steps/s" if speed else "")
            if progress.metrics is not None:
                bar.update(task, figures=_figures(progress))

        bar.start()
        self._bar, self._advance = bar, advance


def _steps_done(progress: Progress) -> int:
    return (progress.epoch - 1) * progress.steps + progress.step


def _figures(progress: Progress) -> str:
    metrics = progress.metrics or {}
    figures = f"loss {metrics['train_loss']:.3f}  test {100 * metrics['test_accuracy']:.1f} %"
    if metrics["quantization_error"] is None:
        return figures
    return f"{figures}  quantization error {metrics['quantization_error']:.3f}"
