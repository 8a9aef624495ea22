"""Summaries of all runs of a folder, cheap to refresh."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.runs.folder import RunFolder, data_label
from engine.runs.run_group import RunGroup, read_group
from tltui.runs.registry import RunSummary
from tltui.runs.run_follower import LogFollower

_Mark = tuple[int, ...]


@dataclass
class _Known:
    """A run's log, settings and group, with the mark of the run.toml read; ``problem``: why it can't be."""

    log: LogFollower
    read_from: _Mark = ()
    config: RunConfig | None = None
    problem: str = ""
    group: RunGroup | None = None


class RunList:
    """Summaries of all runs below a folder.

    Of a run that is alive each refresh reads only the new events. Of one that has ended the summary is memoized until
    its events or settings change.
    """

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self._alive: dict[str, _Known] = {}
        self._ended: dict[str, tuple[tuple[_Mark, _Mark], RunSummary]] = {}

    def refresh(self) -> list[RunSummary]:
        """The summaries now, newest run first."""
        names = self._names()
        for gone in (self._alive.keys() | self._ended.keys()) - names:
            self._alive.pop(gone, None)
            self._ended.pop(gone, None)
        found = [self._summary(name) for name in names]
        return sorted(found, key=lambda run: (run.created, run.run), reverse=True)

    def _names(self) -> set[str]:
        try:
            with os.scandir(self.runs_dir) as entries:
                return {entry.name for entry in entries if (self.runs_dir / entry.name / "run.toml").exists()}
        except OSError:  # no runs yet
            return set()

    def _summary(self, name: str) -> RunSummary:
        folder = RunFolder(self.runs_dir / name)
        marks = _mark(folder.events), _mark(folder.config)
        if name in self._ended and self._ended[name][0] == marks:
            return self._ended[name][1]
        known = self._alive.get(name) or _Known(LogFollower(folder, steps=False))
        if known.read_from != marks[1]:
            _read_settings(known, marks[1])
        known.log.poll()
        summary = _summary_of(known)
        if known.log.has_ended:
            self._alive.pop(name, None)
            self._ended[name] = (marks, summary)
        else:
            self._ended.pop(name, None)
            self._alive[name] = known
        return summary


def _read_settings(known: _Known, mark: _Mark) -> None:
    known.read_from = mark
    known.group = read_group(known.log.folder.group)
    try:
        known.config, known.problem = known.log.folder.load_config(), ""
    except InputError as error:
        known.config, known.problem = None, str(error)


def _summary_of(known: _Known) -> RunSummary:
    folder, config, state = known.log.folder, known.config, known.log.state
    best = state.best
    own = best if best and best.score != "accuracy" else None
    return RunSummary(
        run=folder.id,
        path=str(folder.path),
        status=known.log.status,
        model=config.model.name if config else state.model.name if state.model else "",
        data=data_label(config) if config else "",
        epoch=len(state.epochs),
        epochs=state.epochs_planned or (config.train.epochs if config else 0),
        best_val_accuracy=best.val_accuracy if best else None,
        trainable=state.parameters.trainable if state.parameters else None,
        total=state.parameters.total if state.parameters else None,
        created=_written(folder.config),
        problem=known.problem,
        score=own.score if own else "accuracy",
        best_val_score=own.val_score if own else None,
        cross_validation=known.group.name if known.group else "",
        fold=known.group.fold if known.group else 0,
        folds=known.group.folds if known.group else 0,
    )


def _mark(path: Path) -> _Mark:
    """Identifies a file's content; empty without a file."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it has just been removed
        return 0.0
