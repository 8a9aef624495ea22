"""The folds of a cross-validation as one item of a list of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from engine.evaluation.metrics import formatted_score
from engine.runs.run_status import RunStatus
from tltui.runs.registry import RunSummary


@dataclass(frozen=True)
class FoldGroup:
    """A cross-validation and the runs of its folds, the first fold first."""

    name: str
    runs: tuple[RunSummary, ...]

    @property
    def current(self) -> RunSummary:
        """The running fold, else the first one."""
        return next((run for run in self.runs if run.status.is_alive), self.runs[0])

    @property
    def status(self) -> RunStatus:
        """The status of the running fold, else completed, else the reason why it is not."""
        found = {run.status for run in self.runs}
        if self.current.status.is_alive:
            return self.current.status
        if self._completed == self._folds:
            return RunStatus.COMPLETED
        return next((one for one in (RunStatus.FAILED, RunStatus.LOST) if one in found), RunStatus.STOPPED)

    @property
    def text(self) -> str:
        """How many folds are completed, as "2/5 folds"."""
        return f"{self._completed}/{self._folds} folds"

    @property
    def best_text(self) -> str:
        """The mean of the folds' best validation scores, "" before the first epoch."""
        values = [run.best_score for run in self.runs if run.best_score is not None]
        return formatted_score(self.current.score, fmean(values) if values else None)

    @property
    def _completed(self) -> int:
        return len({run.fold for run in self.runs if run.status is RunStatus.COMPLETED})

    @property
    def _folds(self) -> int:
        return max(run.folds for run in self.runs)


def with_folds_grouped(runs: Sequence[RunSummary]) -> list[RunSummary | FoldGroup]:
    """``runs`` in their order, with each cross-validation in the place of its first run there."""
    found: list[RunSummary | FoldGroup] = []
    folds: dict[str, list[RunSummary]] = {}
    for run in runs:
        folds.setdefault(run.cross_validation, []).append(run)
    for run in runs:
        name = run.cross_validation
        if not name:
            found.append(run)
        elif members := folds.pop(name, []):
            found.append(FoldGroup(name, tuple(sorted(members, key=lambda member: member.fold))))
    return found
