"""What others want of a running engine: commands from the run's folder, and signals."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping

from engine.runs.command_log import CommandTail
from engine.runs.commands import AnyCommand, Stop
from engine.runs.folder import RunFolder
from engine.runs.replay import key
from engine.runs.stopped import Stopped
from engine.system.process_signals import ENDING, stopping_signals

_PATIENCE = 8.0  # seconds; whoever sends a signal often kills after ten


class Control:
    """Collects commands in their order.

    SIGTERM, SIGINT and SIGHUP ask the run to stop gracefully, with a checkpoint; SIGHUP does not under ``nohup``.
    """

    def __init__(self, folder: RunFolder, answered: Mapping[str, int] | None = None) -> None:
        """``answered``: how often each command, by its key, had its answer from an engine before this one."""
        self._tail = CommandTail(folder)
        self._answered = Counter(answered or {})
        self._waiting: deque[AnyCommand | str] = deque()
        self.signal: signal.Signals | None = None
        for number in stopping_signals():
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # whoever starts an engine may block them until now

    def _on_signal(self, number: int, _frame: object) -> None:
        self.signal = signal.Signals(number)

    def see_to_it(self, leave: Callable[[str], None]) -> None:
        """Have ``leave``, given the signal's name, called in a thread if the process is still there 8 s after a signal.

        For all that may keep the main thread from looking: a long step, a slow disk, a download.
        """
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        # Python's own handlers wait until the main thread comes back from a library; this does not.
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))

        def watch(_theirs: socket.socket = theirs) -> None:
            while (number := ours.recv(1)[0]) not in ENDING:
                pass
            time.sleep(_PATIENCE)
            leave(signal.Signals(number).name)

        threading.Thread(target=watch, daemon=True).start()
        if self.signal is not None:  # it came before the descriptor was set
            theirs.send(bytes([self.signal]))

    def anything(self) -> bool:
        """Whether a command waits or a signal came."""
        self._look()
        return bool(self._waiting) or self.signal is not None

    def commands(self) -> list[AnyCommand | str]:
        """Those that came since the last call; raises Stopped after a signal."""
        if self.signal is not None:
            raise Stopped(f"signal {self.signal.name}")
        self._look()
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

    def _look(self) -> None:
        for command in self._tail.poll():
            if self._answered[key(command)]:
                self._answered[key(command)] -= 1
            else:
                self._waiting.append(command)
