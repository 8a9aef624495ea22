"""Progress bar for commands that compute in-process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.runs.progress import Report
from tltui.tables.activities import ACTIVITIES


@contextmanager
def working() -> Iterator[Report]:
    """A bar on standard error, where that is a terminal."""
    console = Console(stderr=True, markup=False, highlight=False)
    words = TextColumn("{task.description}", markup=False)
    columns = (words, BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console.is_terminal
    together = sys.stdout.isatty()  # then lines go above the bar; else rich would take them from standard output
    with Progress(*columns, console=console, transient=True, disable=not shown, redirect_stdout=together) as bar:
        task = bar.add_task("starting", total=None)

        def report(activity: str, done: int, total: int, _unit: str) -> None:
            bar.update(task, description=ACTIVITIES.get(activity, activity), completed=done, total=total or None)

        yield report
