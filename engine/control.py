"""What others want of a running engine: commands from the run's folder, and signals."""

from __future__ import annotations

import signal
from collections import deque

from engine.errors import Stopped
from engine.protocol import AnyCommand, Stop
from engine.rundir import CommandTail, RunFolder


class Control:
    """Collects commands in their order.

    SIGTERM and SIGINT ask the run to stop in order; SIGHUP, a terminal that closes, is none of its business.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._tail = CommandTail(folder)
        self._waiting: deque[AnyCommand | str] = deque()
        self.signal: signal.Signals | None = None
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        self.signal = signal.Signals(number)

    def commands(self) -> list[AnyCommand | str]:
        """Those that came since the last call; raises Stopped after a signal."""
        if self.signal is not None:
            raise Stopped(f"signal {self.signal.name}")
        self._waiting.extend(self._tail.poll())
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    @property
    def refused(self) -> str:
        """Why no commands are taken from the run's folder, "" where they are."""
        return self._tail.refused

    def leftover(self) -> list[AnyCommand | str]:
        """Those that nobody took, for when the run ends."""
        self.signal = None
        return self.commands()

    def check(self) -> None:
        """Raises Stopped if a stop is wanted; other commands wait until training takes them.

        For work that can only be given up, not steered: downloads, reading data.
        """
        commands = self.commands()
        self._waiting.extend(commands)
        stop = next((command for command in commands if isinstance(command, Stop)), None)
        if stop:
            self._waiting.remove(stop)
            raise Stopped("stop command", stop)
