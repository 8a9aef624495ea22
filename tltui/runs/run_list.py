"""The runs of a folder, looked at again and again at little cost."""

from __future__ import annotations

import os
from pathlib import Path

from engine.errors import InputError
from engine.runs.folder import RunFolder, data_label
from tltui.runs.registry import RunSummary
from tltui.runs.run_follower import Following


class RunTable:
    """Summaries of all runs below a folder.

    A run that lives is followed: each look reads only what was added. Of one that is over the summary alone is
    kept, until its events grow again.
    """

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self.unreadable: dict[str, str] = {}
        """Folders whose run.toml can't be read, and why."""
        self._alive: dict[str, Following] = {}
        self._over: dict[str, tuple[int, RunSummary]] = {}

    def look(self) -> list[RunSummary]:
        """The runs as they are now, the newest first."""
        names = self._names()
        for gone in (self._alive.keys() | self._over.keys() | self.unreadable.keys()) - names:
            for known in (self._alive, self._over, self.unreadable):
                known.pop(gone, None)
        found = [summary for name in names if (summary := self._summary(name)) is not None]
        return sorted(found, key=lambda run: (run.created, run.run), reverse=True)

    def _names(self) -> set[str]:
        try:
            with os.scandir(self.runs_dir) as entries:
                return {entry.name for entry in entries if (self.runs_dir / entry.name / "run.toml").exists()}
        except OSError:  # no runs yet
            return set()

    def _summary(self, name: str) -> RunSummary | None:
        folder = RunFolder(self.runs_dir / name)
        size = _size(folder.events)
        if name in self._over and self._over[name][0] == size:
            return self._over[name][1]
        if name in self.unreadable:
            return None
        try:
            following = self._alive.get(name) or Following(folder, steps=False)
        except InputError as error:
            self.unreadable[name] = str(error)
            return None
        following.poll()
        summary = _summary_of(following)
        if following.over:
            self._alive.pop(name, None)
            self._over[name] = (size, summary)
        else:
            self._over.pop(name, None)
            self._alive[name] = following
        return summary


def _summary_of(following: Following) -> RunSummary:
    folder, config, state = following.folder, following.config, following.state
    return RunSummary(
        run=folder.id,
        path=str(folder.path),
        status=following.status,
        model=config.model.name,
        data=data_label(config),
        epoch=len(state.epochs),
        epochs=state.epochs_planned or config.train.epochs,
        best_val_accuracy=state.best.val_accuracy if state.best else None,
        trainable=state.parameters.trainable if state.parameters else None,
        total=state.parameters.total if state.parameters else None,
        created=folder.config.stat().st_mtime,
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
