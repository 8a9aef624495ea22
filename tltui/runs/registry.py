"""Run folders: lists and finds them, reads their state and status."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import platformdirs

from engine.errors import InputError
from engine.evaluation.metrics import formatted_score
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder
from engine.runs.lock import is_locked
from engine.runs.run_status import RunStatus
from engine.runs.state import RunState, fold_all

START_SECONDS = 20  # a younger run without a lock may still start


UNREADABLE = "can't be read"  # in place of the dataset, where run.toml is invalid


class RunSummary(msgspec.Struct, omit_defaults=True):
    """One row of ``tltui runs``. ``created`` is in Unix seconds; ``problem``: the reason why run.toml can't be read.

    ``best_val_score``: the validation metric ``score`` in the best epoch, where that is not accuracy.
    ``cross_validation``: the name of the one that the run belongs to, as fold ``fold`` of ``folds``.
    """

    run: str
    path: str
    status: RunStatus
    model: str
    data: str
    epoch: int
    epochs: int
    best_val_accuracy: float | None
    trainable: int | None
    total: int | None
    created: float
    problem: str = ""
    score: str = "accuracy"
    best_val_score: float | None = None
    cross_validation: str = ""
    fold: int = 0
    folds: int = 0

    @property
    def fold_text(self) -> str:
        """Which fold the run is, as "fold 2/5"; "" for other runs."""
        return f"fold {self.fold}/{self.folds}" if self.folds else ""

    @property
    def best_score(self) -> float | None:
        """The best epoch's validation score, None before the first epoch."""
        return self.best_val_accuracy if self.score == "accuracy" else self.best_val_score

    @property
    def best_text(self) -> str:
        """The best epoch's validation score as text, "" before the first epoch."""
        return formatted_score(self.score, self.best_score)


def runs_folder(option: str | None) -> Path:
    """The folder of all runs: the option, else $TLTUI_RUNS, else the platform's folder for user data."""
    chosen = option or os.environ.get("TLTUI_RUNS")
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_data_dir("tltui")) / "runs"


def folders(runs: Path) -> list[RunFolder]:
    """All runs, newest first."""
    found = [RunFolder(path) for path in runs.iterdir() if (path / "run.toml").is_file()] if runs.is_dir() else []
    return sorted(found, key=lambda folder: folder.config.stat().st_mtime, reverse=True)


def find(runs: Path, name: str) -> RunFolder:
    """The run called ``name``: an id, a unique prefix of one, a path, or "last". Raises InputError."""
    known = folders(runs)
    if name == "last" and known:
        return known[0]
    matching = [folder for folder in known if folder.id == name] or [f for f in known if f.id.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    if len(matching) > 1:
        raise InputError(
            f'"{name}" matches {len(matching)} runs: {", ".join(f.id for f in matching[:5])}; give more characters'
        )
    path = Path(name).expanduser()
    if (path / "run.toml").is_file():
        return RunFolder(path.resolve())
    raise InputError(f'there is no run "{name}" in {runs}; `tltui runs` lists them')


def read(folder: RunFolder, *, steps: bool = True) -> RunState:
    """A run's state: its event log folded."""
    return fold_all(EventTail(folder, steps=steps).poll())


def status(folder: RunFolder, state: RunState) -> RunStatus:
    """The run's status from its events and its lock."""
    if state.finished or is_locked(folder):
        return state.status
    try:
        young = 0 <= time.time() - folder.config.stat().st_mtime < START_SECONDS
    except OSError:  # the folder has just been removed
        young = False
    return state.status if young and state.seq == 0 else RunStatus.LOST
