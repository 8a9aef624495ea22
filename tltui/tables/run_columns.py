"""The columns of the list of runs. A new column is a new entry of COLUMNS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual.content import Content

from engine.runs.folder import data_label
from engine.runs.run_status import RunStatus
from tltui.runs.queue import QueuedRun
from tltui.runs.registry import UNREADABLE, RunSummary
from tltui.runs.status import status_mark
from tltui.text.glyphs import Glyphs, safe
from tltui.text.numbers import share


@dataclass(frozen=True)
class RunRow:
    """A run, or a queued one with its ``place`` in the queue. ``marked``: selected for comparison.

    ``problem``: the reason why it can't start, or its settings can't be read. ``cross_validation``: as in RunSummary.
    """

    id: str
    status: RunStatus
    name: str
    data: str
    model: str
    trainable: float | None
    best: str
    epoch: int
    epochs: int
    since: float
    place: int | None = None
    marked: bool = False
    problem: str = ""
    cross_validation: str = ""

    def cells(self, now: float, glyphs: Glyphs) -> dict[str, Content]:
        """The row's cells by column."""
        return {name: column.cell(self, now, glyphs) for name, column in COLUMNS.items()}


@dataclass(frozen=True)
class Column:
    """``width`` is the least one, in cells."""

    width: int
    cell: Callable[[RunRow, float, Glyphs], Content]


COLUMNS: dict[str, Column] = {
    "": Column(2, lambda row, now, glyphs: Content.styled(glyphs.marked if row.marked else "", "bold $text-accent")),
    "state": Column(12, lambda row, now, glyphs: status_mark(row.status, glyphs)),
    "id": Column(5, lambda row, now, glyphs: Content(safe(row.name))),
    "data": Column(12, lambda row, now, glyphs: Content(safe(row.data))),
    "model": Column(17, lambda row, now, glyphs: Content(safe(row.model))),
    "trainable": Column(10, lambda row, now, glyphs: Content("" if row.trainable is None else share(row.trainable))),
    "best": Column(6, lambda row, now, glyphs: Content(row.best)),
    "epoch": Column(8, lambda row, now, glyphs: Content(f"{row.epoch}/{row.epochs}")),
    "age": Column(6, lambda row, now, glyphs: Content(age(now - row.since))),
}


def run_row(summary: RunSummary, *, marked: bool = False) -> RunRow:
    """The row of a run that has a folder."""
    return RunRow(
        id=summary.run,
        status=summary.status,
        name=summary.run.split("-")[0],
        data=UNREADABLE
        if summary.problem
        else f"{summary.fold_text} {summary.data}".lstrip(),  # narrow terminals cut its end
        model=summary.model,
        trainable=summary.trainable / summary.total if summary.trainable is not None and summary.total else None,
        best=summary.best_text,
        epoch=summary.epoch,
        epochs=summary.epochs,
        since=summary.created,
        marked=marked,
        problem=summary.problem,
        cross_validation=summary.cross_validation,
    )


def queued_row(place: int, waiting: QueuedRun) -> RunRow:
    """The row of a queued run."""
    config = waiting.config
    return RunRow(
        id=f"queue:{place}",
        status=RunStatus.FAILED if waiting.failed else RunStatus.QUEUED,
        name="",
        data=data_label(config),
        model=config.model.name,
        trainable=None,
        best="",
        epoch=0,
        epochs=config.train.epochs,
        since=waiting.queued,
        place=place,
        problem=waiting.failed,
    )


def widths(room: int, rows: list[RunRow]) -> dict[str, int]:
    """The width of each column; model and dataset share what the others leave."""
    sizes = {name: column.width for name, column in COLUMNS.items()}
    spare = max(room - sum(sizes.values()), 0)
    longest = {name: max((len(getattr(row, name)) for row in rows), default=0) + 2 for name in ("model", "data")}
    for name, wanted in longest.items():
        more = min(max(wanted - sizes[name], 0), spare)
        sizes[name] += more
        spare -= more
    return sizes


def age(seconds: float) -> str:
    """Time since then, in one unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return "now"
