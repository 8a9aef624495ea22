"""The status of a run, from queue to end. Imports no torch."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """The status of a run. All but draft, queued and lost follow from the event log."""

    DRAFT = "draft"
    QUEUED = "queued"
    STARTING = "starting"
    PREPARING = "preparing"
    TRAINING = "training"
    PAUSED = "paused"
    EVALUATING = "evaluating"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"
    """The worker died without a ``run_finished`` event."""

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended, gracefully or not."""
        return self is RunStatus.COMPLETED or self.is_resumable

    @property
    def is_resumable(self) -> bool:
        """Whether the run ended before its last epoch."""
        return self in (RunStatus.STOPPED, RunStatus.FAILED, RunStatus.LOST)

    @property
    def is_alive(self) -> bool:
        """Whether the run has a worker, or is starting one."""
        return not self.has_ended and self not in (RunStatus.DRAFT, RunStatus.QUEUED)
