"""The columns and rows of the list of runs. A new column is a new entry of COLUMNS."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from textual.content import Content

from engine.runs.folder import data_label
from engine.runs.run_status import RunStatus
from tltui.runs.fold_groups import FoldGroup, with_folds_grouped
from tltui.runs.queue import QueuedRun
from tltui.runs.registry import UNREADABLE, RunSummary
from tltui.runs.status import status_mark
from tltui.text.glyphs import Glyphs, safe
from tltui.text.numbers import share


@dataclass(frozen=True)
class RunRow:
    """A run, a queued one with its ``place`` in the queue, or all folds of a cross-validation.

    ``marked``: selected for comparison. ``problem``: the reason why it can't start, or its settings can't be read.
    ``cross_validation``: as in RunSummary. ``runs``: the ids of the runs that the row stands for. ``run``: the one that
    is steered and copied. ``is_expanded``: whether the folds are shown below; None for a single run.
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
    runs: tuple[str, ...] = ()
    run: str = ""
    is_expanded: bool | None = None

    def cells(self, now: float, glyphs: Glyphs) -> dict[str, Content]:
        """The row's cells by column."""
        return {name: column.cell(self, now, glyphs) for name, column in COLUMNS.items()}


@dataclass(frozen=True)
class Column:
    """``width`` is the least one, in cells, with the blank before the next column."""

    width: int
    cell: Callable[[RunRow, float, Glyphs], Content]


COLUMNS: dict[str, Column] = {
    "": Column(2, lambda row, now, glyphs: Content.styled(glyphs.marked if row.marked else "", "bold $text-accent")),
    "state": Column(13, lambda row, now, glyphs: status_mark(row.status, glyphs)),
    "id": Column(5, lambda row, now, glyphs: Content(safe(row.name))),
    "data": Column(13, lambda row, now, glyphs: Content(f"{_fold_mark(row, glyphs)}{safe(row.data)}")),
    "model": Column(14, lambda row, now, glyphs: Content(safe(row.model))),
    "trainable": Column(10, lambda row, now, glyphs: Content("" if row.trainable is None else share(row.trainable))),
    "best": Column(7, lambda row, now, glyphs: Content(row.best)),
    "epoch": Column(8, lambda row, now, glyphs: Content(f"{row.epoch}/{row.epochs}")),
    "age": Column(6, lambda row, now, glyphs: Content(age(now - row.since))),
}


def _fold_mark(row: RunRow, glyphs: Glyphs) -> str:
    """Whether the folds below a row are shown; an indent for these."""
    if row.is_expanded is None:
        return "  " if row.cross_validation else ""
    return f"{glyphs.expanded if row.is_expanded else glyphs.collapsed} "


def run_rows(summaries: Sequence[RunSummary], marks: Collection[str], expanded: Collection[str]) -> Iterator[RunRow]:
    """The rows of all runs; the folds of a cross-validation stand below one row, if its name is in ``expanded``."""
    for item in with_folds_grouped(summaries):
        if isinstance(item, RunSummary):
            yield _run_row(item, marks)
            continue
        yield _group_row(item, marks, is_expanded=item.name in expanded)
        yield from (_run_row(run, marks) for run in item.runs if item.name in expanded)


def _group_row(group: FoldGroup, marks: Collection[str], *, is_expanded: bool) -> RunRow:
    row = _run_row(group.current, marks)
    return replace(
        row,
        id=f"folds/{group.name}",  # no name of a folder, as those of runs are
        status=group.status,
        name="",
        data=f"{group.text} {group.current.data}",
        best=group.best_text,
        epoch=sum(run.epoch for run in group.runs),
        epochs=max(run.folds for run in group.runs) * group.current.epochs,
        since=max(run.created for run in group.runs),
        marked=all(run.run in marks for run in group.runs),
        problem="",
        runs=tuple(run.run for run in group.runs),
        is_expanded=is_expanded,
    )


def _run_row(summary: RunSummary, marks: Collection[str]) -> RunRow:
    return RunRow(
        id=summary.run,
        status=summary.status,
        name=summary.run.split("-")[0],
        data=UNREADABLE if summary.problem else summary.fold_text or summary.data,  # the row above names its dataset
        model=summary.model,
        trainable=summary.trainable / summary.total if summary.trainable is not None and summary.total else None,
        best=summary.best_text,
        epoch=summary.epoch,
        epochs=summary.epochs,
        since=summary.created,
        marked=summary.run in marks,
        problem=summary.problem,
        cross_validation=summary.cross_validation,
        runs=(summary.run,),
        run=summary.run,
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
    longest = {
        "model": max((len(row.model) for row in rows), default=0) + 2,
        "data": max((len(row.data) + 2 * bool(row.cross_validation) for row in rows), default=0) + 2,
    }
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
