"""What a worker knows about its run before it loads a dataset or a model."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.runs.event_log import EventLog
from engine.runs.events import Warning
from engine.runs.folder import RunFolder
from engine.runs.progress import Report, quiet
from engine.runs.replay import ReplayedLog
from engine.training.control import Control
from engine.training.distributed import SINGLE_PROCESS, Ranks
from engine.training.rank_control import RankControl
from engine.warning_codes import WarningCode


@dataclass(frozen=True)
class RunContext:
    """A run's folder, its event log, its commands, and the processes that train it.

    ``report`` reports progress. ``replayed`` holds the events of the log that a resumed run replays.
    """

    folder: RunFolder
    log: EventLog
    control: Control | RankControl
    report: Report = quiet
    replayed: ReplayedLog = field(default_factory=ReplayedLog)
    ranks: Ranks = SINGLE_PROCESS

    def warn(self, code: WarningCode, message: str) -> None:
        """Emit a warning event."""
        self.log.write(Warning(code=code, message=message))
