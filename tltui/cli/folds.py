"""``tltui train CONFIG --folds K``: trains the folds of a cross-validation and prints their means."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.evaluation.metrics import formatted_score
from engine.experiments.cross_validation.definition import CrossValidation, define
from engine.experiments.cross_validation.events import (
    CrossValidationEvent,
    CrossValidationStarted,
    CrossValidationSummary,
    FoldEpoch,
    FoldFinished,
    FoldResult,
    FoldStarted,
)
from engine.experiments.cross_validation.worker import cross_validate
from engine.runs.exit_codes import DONE, FAILED, INTERRUPTED
from engine.system.rank_env import is_rank
from tltui.cli import json_output
from tltui.cli.console import console
from tltui.cli.follow import say
from tltui.cli.stop_signals import stop_requested
from tltui.engine_client.cross_validation import start_folds
from tltui.tables.cross_validation import fold_cells, page
from tltui.text.glyphs import safe


class View(Protocol):
    """Shows the events of a cross-validation."""

    def show(self, event: CrossValidationEvent) -> None: ...


def validation_of(config: RunConfig, folds: int) -> CrossValidation:
    """The cross-validation that the command trains. Raises InputError."""
    if is_rank():
        raise InputError("--folds can't train under torchrun; set train.processes to use several processes")
    return define(config, folds)


def train_folds(runs: Path, validation: CrossValidation, *, as_json: bool) -> int:
    """Train the folds and print the summary; returns the exit status. Raises InputError."""
    with open_view(as_json=as_json) as view, stop_requested() as stopping:
        summary = cross_validate(runs, validation, view.show, stopping)
    if as_json:
        JsonLines().show(summary)
    else:
        out = console()
        for part in page(summary):
            out.print(part)
    return _status(summary)


def detach_folds(runs: Path, validation: CrossValidation, *, as_json: bool) -> None:
    """Train the folds in the background and print the name of the cross-validation. Raises InputError."""
    start_folds(runs, validation)
    document = {"cross_validation": validation.name, "folds": validation.folds}
    click.echo(json_output.as_json(document) if as_json else validation.name)


def _status(summary: CrossValidationSummary) -> int:
    statuses = {fold.status for fold in summary.folds}
    if statuses & {"stopped", "waiting", "running"}:
        say(f"{summary.completed} of {len(summary.folds)} folds are completed; the same command continues")
        return INTERRUPTED
    return FAILED if "failed" in statuses else DONE


@contextmanager
def open_view(*, as_json: bool) -> Iterator[View]:
    """The view that suits standard output."""
    if as_json:
        yield JsonLines()
        return
    out = console()
    with PlainLines(out) as lines:
        yield lines


class JsonLines:
    """Prints each event as a line of JSON."""

    def show(self, event: CrossValidationEvent) -> None:
        sys.stdout.buffer.write(json_output.as_json(event) + b"\n")
        sys.stdout.buffer.flush()


class PlainLines:
    """Prints a line for each finished fold; on a terminal with a bar over the epochs of all folds."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._folds = 0
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeRemainingColumn(),
            console=out,
            transient=True,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("starting the worker", total=None)

    def __enter__(self) -> PlainLines:
        if self._out.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bar.stop()

    def show(self, event: CrossValidationEvent) -> None:
        match event:
            case CrossValidationStarted():
                self._folds = event.folds
                there = f", {event.completed} completed before" if event.completed else ""
                self._out.print(f"cross-validation {safe(event.name)}: {event.folds} folds{there}")
            case FoldStarted():
                verb = "resumes" if event.resumed else "trains"
                self._out.print(f"fold {event.fold}/{self._folds} {verb} as run {safe(Path(event.run).name)}")
            case FoldEpoch():
                text = f"fold {event.fold}/{self._folds}  epoch {event.epoch}/{event.epochs}"
                done = (event.fold - 1) * event.epochs + event.epoch
                description = f"{text}  best val {formatted_score(event.score, event.best_val_accuracy)}"
                self._bar.update(self._task, description=description, completed=done, total=self._folds * event.epochs)
            case FoldFinished(result=result):
                self._out.print(_line(result, self._folds), soft_wrap=True)


def _line(result: FoldResult, folds: int) -> str:
    cells = fold_cells(result)
    metrics = "".join(f"  {split} {cells[split]}" for split in ("val", "test") if cells[split])
    reason = f"  {safe(result.reason)}" if result.reason else ""
    return f"fold {result.fold}/{folds} {result.status}{metrics}  {result.seconds:.1f} s{reason}"
