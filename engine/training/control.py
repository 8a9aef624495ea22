"""Commands from the run's folder and signals, for the worker that trains it."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping

from engine.runs.command_log import CommandTail
from engine.runs.commands import AnyCommand, Set, Stop
from engine.runs.folder import RunFolder
from engine.runs.replay import key
from engine.runs.stopped import Stopped
from engine.system.process_signals import ENDING, stopping_signals

_GRACE_PERIOD = 8.0  # seconds; schedulers often kill a process ten seconds after a signal


class Control:
    """Collects commands in order.

    SIGTERM, SIGINT and SIGHUP ask the run to stop gracefully, with a checkpoint; SIGHUP does not under ``nohup``.
    """

    def __init__(self, folder: RunFolder, answered: Mapping[str, int] | None = None) -> None:
        """``answered``: how often earlier workers answered each command, by its key."""
        self._tail = CommandTail(folder)
        self._answered = Counter(answered or {})
        self._waiting: deque[AnyCommand | str] = deque()
        self.signal: signal.Signals | None = None
        for number in stopping_signals():
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # a parent process may have blocked them until now

    def _on_signal(self, number: int, _frame: object) -> None:
        self.signal = signal.Signals(number)

    def exit_after_grace_period(self, leave: Callable[[str], None]) -> None:
        """Call ``leave`` with the signal's name, in a thread, if the process still runs 8 s after a signal.

        A long step, a slow disk or a download may keep the main thread from a graceful stop.
        """
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        # Python's handlers run once the main thread returns from a library; the wakeup descriptor works at once.
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))

        def watch(_theirs: socket.socket = theirs) -> None:
            while (number := ours.recv(1)[0]) not in ENDING:
                pass
            time.sleep(_GRACE_PERIOD)
            leave(signal.Signals(number).name)

        threading.Thread(target=watch, daemon=True).start()
        if self.signal is not None:  # the signal arrived before the descriptor was set
            theirs.send(bytes([self.signal]))

    def has_pending(self) -> bool:
        """Whether a command or a signal waits."""
        self._poll()
        return bool(self._waiting) or self.signal is not None

    def waits_for(self, setting: str) -> bool:
        """Whether a command that changes ``setting`` waits."""
        self._poll()
        return any(isinstance(command, Set) and command.key == setting for command in self._waiting)

    def take_commands(self) -> list[AnyCommand | str]:
        """The commands received since the last call. Raises Stopped after a signal."""
        if self.signal is not None:
            raise Stopped(f"signal {self.signal.name}")
        self._poll()
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    @property
    def refused(self) -> str:
        """Why commands from the run's folder are refused; "" if they are not."""
        return self._tail.refused

    def take_unanswered(self) -> list[AnyCommand | str]:
        """The commands that are still unanswered when the run ends."""
        self.signal = None
        return self.take_commands()

    def check(self) -> None:
        """Raise Stopped if a stop is requested. Other commands wait for training.

        For work that can only be aborted: downloads, decoding images.
        """
        commands = self.take_commands()
        self._waiting.extend(commands)
        stop = next((command for command in commands if isinstance(command, Stop)), None)
        if stop:
            self._waiting.remove(stop)
            raise Stopped("stop command", stop)

    def _poll(self) -> None:
        for command in self._tail.poll():
            if self._answered[key(command)]:
                self._answered[key(command)] -= 1
            else:
                self._waiting.append(command)
