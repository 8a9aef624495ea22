"""Runs that this app starts: one at a time unless asked otherwise, the others wait their turn here."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.runs.folder import RunFolder

Start = Callable[[Path, RunConfig], tuple[RunFolder, "subprocess.Popen[bytes]"]]


@dataclass(frozen=True)
class QueuedRun:
    """A run that starts when those before it are over; it has no folder yet. ``queued`` is in Unix seconds.

    ``failed``: why it could not be started; it stays where it is until ``RunQueue.retry``.
    """

    config: RunConfig
    queued: float
    failed: str = ""


class RunQueue:
    """Starts engines. What waits is held in memory: it goes when the app does."""

    def __init__(self, runs_dir: Path, start: Start) -> None:
        self.waiting: list[QueuedRun] = []
        self._runs_dir = runs_dir
        self._start = start
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, config: RunConfig) -> RunFolder:
        """Start a run now. Raises InputError where it can't be started."""
        folder, process = self._start(self._runs_dir, config)
        self._processes.append(process)
        return folder

    def add(self, config: RunConfig) -> None:
        """Let a run wait for its turn."""
        self.waiting.append(QueuedRun(config, time.time()))

    def start_next(self, others_train: bool) -> RunFolder | None:
        """Start the next that waits if nothing trains; to be called now and then.

        Raises InputError where it can't be started: it keeps its place, with the reason, and those behind it are next.
        """
        self._processes = [process for process in self._processes if process.poll() is None]
        places = [place for place, waiting in enumerate(self.waiting) if not waiting.failed]
        if not places or others_train or self._processes:
            return None
        place = places[0]
        try:
            folder = self.start(self.waiting[place].config)
        except InputError as error:
            self.waiting[place] = replace(self.waiting[place], failed=str(error))
            raise
        del self.waiting[place]
        return folder

    def retry(self, place: int) -> None:
        """Let a run that could not be started wait for its turn again."""
        self.waiting[place] = replace(self.waiting[place], failed="")
