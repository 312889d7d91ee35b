"""Progress on standard error, only where a person watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def sample_progress(
    total: int, quiet: bool, done: int = 0, what: str = "samples"
) -> Iterator[Callable[[int], None] | None]:
    """A bar over ``total`` samples with samples per second and time left; None when quiet or not on a terminal.

    ``done`` samples were finished before, in a run that was interrupted: they count for the bar, not for the rate.
    """
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Rate(ProgressColumn):
        """Samples per second over the last half minute."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s")

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), Rate(), TextColumn("ETA"), TimeLeft())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda count: bar.update(task, advance=count)
