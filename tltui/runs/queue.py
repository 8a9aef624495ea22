"""Runs that this app starts: one at a time unless asked otherwise, the others wait their turn here."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.config.schema import RunConfig
from engine.runs.folder import RunFolder

Start = Callable[[Path, RunConfig], tuple[RunFolder, "subprocess.Popen[bytes]"]]


@dataclass(frozen=True)
class Waiting:
    """A run that starts when those before it are over; it has no folder yet. ``queued`` is in Unix seconds."""

    config: RunConfig
    queued: float


class RunQueue:
    """Starts engines. What waits is held in memory: it goes when the app does."""

    def __init__(self, runs_dir: Path, start: Start) -> None:
        self.waiting: list[Waiting] = []
        self._runs_dir = runs_dir
        self._start = start
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, config: RunConfig) -> RunFolder:
        """Start a run now. Raises InputError where its folder can't be made."""
        folder, process = self._start(self._runs_dir, config)
        self._processes.append(process)
        return folder

    def add(self, config: RunConfig) -> None:
        """Let a run wait for its turn."""
        self.waiting.append(Waiting(config, time.time()))

    def start_next(self, others_train: bool) -> RunFolder | None:
        """Start the next that waits if nothing trains; to be called now and then. Raises InputError."""
        self._processes = [process for process in self._processes if process.poll() is None]
        if not self.waiting or others_train or self._processes:
            return None
        return self.start(self.waiting.pop(0).config)
