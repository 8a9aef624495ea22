"""Shows a running sweep as a live table, plain lines or JSON."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engine.evaluation.metrics import formatted_score
from engine.experiments.sweep.definition import Sweep
from engine.experiments.sweep.events import (
    SweepEvent,
    SweepListed,
    SweepResults,
    SweepStarted,
    TrialEpoch,
    TrialFinished,
    TrialResult,
    TrialStarted,
)
from tltui.cli.console import console, speaks_unicode
from tltui.cli.json_output import as_json as as_json_line
from tltui.tables.sweep import page, result_rows, trials_table
from tltui.tables.trial_columns import ranked, settings_line
from tltui.text.glyphs import ASCII, UNICODE, Glyphs, safe
from tltui.text.numbers import duration

_ROWS_AROUND = 6  # of the terminal that show no trial


class View(Protocol):
    """Shows the events of a sweep."""

    def show(self, event: SweepEvent) -> None: ...


@contextmanager
def open_view(sweep: Sweep, *, as_json: bool) -> Iterator[View]:
    """The view that suits standard output."""
    if as_json:
        yield JsonLines()
        return
    out = console()
    if not out.is_terminal:
        yield PlainLines(out)
        return
    table = LiveTable(out, sweep)
    with Live(get_renderable=table.render, console=out, refresh_per_second=4, transient=True):
        yield table


class JsonLines:
    """Prints each event as a line of JSON."""

    def show(self, event: SweepEvent) -> None:
        sys.stdout.buffer.write(as_json_line(event) + b"\n")
        sys.stdout.buffer.flush()


class PlainLines:
    """Prints a line per finished trial."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def show(self, event: SweepEvent) -> None:
        match event:
            case SweepStarted():
                wanted = f", {event.wanted} trials" if event.wanted else ""
                there = f", {event.trials} finished before" if event.trials else ""
                self._out.print(f"sweep {safe(event.sweep)}: {event.sampler}, pruner {event.pruner}{wanted}{there}")
            case TrialStarted(resumed=True):
                self._out.print(f"trial {event.trial} resumed")
            case TrialFinished(result=result):
                self._out.print(trial_line(result), soft_wrap=True)


def trial_line(result: TrialResult) -> str:
    """A finished trial as a line. Numbers may have gaps, so no total is shown."""
    accuracy = "" if result.val_accuracy is None else f"  val {formatted_score(result.score, result.val_accuracy)}"
    reason = f"  {safe(result.reason)}" if result.reason else ""
    outcome = f"{result.status}{accuracy}  {result.seconds:.1f} s"
    return f"trial {result.trial}  {outcome}  {settings_line(result.settings)}{reason}"


class LiveTable:
    """The trials now: running ones first, then the best."""

    def __init__(self, out: Console, sweep: Sweep) -> None:
        self._out = out
        self._sweep = sweep
        self._began = time.monotonic()
        self._there = self._wanted = 0
        self._trials: dict[int, TrialResult] = {}

    def show(self, event: SweepEvent) -> None:
        match event:
            case SweepStarted():
                self._there, self._wanted = event.trials, event.wanted
            case TrialStarted():
                self._trials[event.trial] = TrialResult(event.trial, event.run, "running", event.settings)
            case TrialEpoch():
                trial = self._trials[event.trial]
                trial.epoch, trial.epochs, trial.score = event.epoch, event.epochs, event.score
                trial.val_accuracy = event.best_val_accuracy
            case TrialFinished(result=result):
                self._trials[result.trial] = result

    def render(self) -> RenderableType:
        room = max(self._out.height - _ROWS_AROUND, 3)
        order = ranked(self._trials.values())
        keys = [dimension.name for dimension in self._sweep.space]
        table = trials_table(order[:room], keys, self._out.width)
        return Group(self._header(), table, self._footer(len(order) - room))

    def _header(self) -> Text:
        counts = Counter(one.status for one in self._trials.values())
        done = self._there + counts.total() - counts["running"]
        words = [f"{count} {status}" for status, count in counts.items()]
        total = f"/{self._wanted}" if self._wanted else ""
        line = f"  {done}{total} trials  {', '.join(words)}  {duration(time.monotonic() - self._began)}"
        return Text.assemble((safe(self._sweep.name, 40), "bold"), line)

    def _footer(self, more: int) -> Text:
        return Text(f"and {more} more" if more > 0 else "ctrl+c: stop with checkpoints", style="bright_black")


def print_results(results: SweepResults, *, as_json: bool) -> None:
    """Print a sweep's results."""
    if as_json:
        JsonLines().show(results)
        return
    out = console()
    for part in page(results, out.width, _glyphs()):
        out.print(part)


def print_live(changes: Iterator[SweepResults], *, as_json: bool) -> None:
    """Print a sweep's results whenever they change; on a terminal in one place."""
    out = console()
    if as_json or not out.is_terminal:
        for results in changes:
            print_results(results, as_json=as_json)
        return
    last: SweepResults | None = None
    with Live(console=out, auto_refresh=False, transient=True) as live:
        for last in changes:
            room = max(out.height - len(result_rows(last, out.width, _glyphs())) - _ROWS_AROUND, 3)
            live.update(Group(*page(last, out.width, _glyphs(), room)), refresh=True)
    if last is not None:
        print_results(last, as_json=False)


def sweeps_table(sweeps: list[SweepListed]) -> Table:
    """One sweep per row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("sweep", "running", "finished", "planned", "best val"):
        table.add_column(heading, justify="left" if heading == "sweep" else "right", no_wrap=True)
    for one in sweeps:
        wanted = str(one.wanted or "")
        table.add_row(
            Text(safe(one.sweep)), str(one.running or ""), str(one.ended), wanted, formatted_score(one.score, one.best)
        )
    return table


def _glyphs() -> Glyphs:
    return UNICODE if speaks_unicode() else ASCII
