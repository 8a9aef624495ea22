"""The queue of runs that this app starts one at a time."""

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
    """A run that starts when those before it have ended; it has no folder yet. ``queued`` is in Unix seconds.

    ``failed``: the reason why it could not start; it keeps its place until ``RunQueue.retry``.
    """

    config: RunConfig
    queued: float
    failed: str = ""


class RunQueue:
    """Starts runs. Queued ones are held in memory: they end with the app."""

    def __init__(self, runs_dir: Path, start: Start) -> None:
        self.waiting: list[QueuedRun] = []
        self._runs_dir = runs_dir
        self._start = start
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, config: RunConfig) -> RunFolder:
        """Start a run now. Raises InputError where it can't start."""
        folder, process = self._start(self._runs_dir, config)
        self._processes.append(process)
        return folder

    def add(self, config: RunConfig) -> None:
        """Append a run to the queue."""
        self.waiting.append(QueuedRun(config, time.time()))

    def start_next(self, others_train: bool) -> RunFolder | None:
        """Start the next queued run unless one is training; call it regularly.

        Raises InputError where it can't start: it keeps its place with the reason, and the next call
        takes the one behind it.
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
        """Queue a run again that could not start."""
        self.waiting[place] = replace(self.waiting[place], failed="")
