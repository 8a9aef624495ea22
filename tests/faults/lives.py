"""Engines that live in processes of their own and can be killed, without paying for the import of torch each time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from engine.errors import InputError
from engine.runs.command_log import send
from engine.runs.commands import AnyCommand
from engine.runs.event_log import EventLog
from engine.runs.events import Event, Step
from engine.runs.folder import RunFolder
from tests.forked_starts.context import forking_context

# (step, command): sent once the step is told. A kill between the two is made good by the next life.
Script = list[tuple[int, AnyCommand]]
Fault = Callable[[RunFolder], None]  # called in the engine's process before it begins


class Life:
    """An engine's process."""

    def __init__(
        self, folder: RunFolder, script: Script, fault: Fault | None = None, cache: Path | None = None
    ) -> None:
        self._process: BaseProcess = forking_context().Process(target=_live, args=(folder, script, fault, cache))
        self._process.start()
        self.process_id = self._process.pid or 0

    @property
    def over(self) -> bool:
        """Whether the process has ended."""
        return self._process.exitcode is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.process_id, number)

    def kill(self) -> None:
        """As a loss of power would; returns when the process is gone."""
        self._process.kill()
        self._process.join()

    def wait(self, timeout: float = 120.0) -> int:
        """The exit status, negative for a signal."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            self.kill()
            raise TimeoutError(f"the engine was still there after {timeout:.0f} s")
        return status


def wait_for_bytes(folder: RunFolder, size: int, life: Life) -> None:
    """Return once the run's log has ``size`` bytes, or the engine is gone."""
    while not life.over:
        try:
            if folder.events.stat().st_size >= size:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.001)


def _live(folder: RunFolder, script: Script, fault: Fault | None, cache: Path | None) -> None:
    from engine.process import worker

    log = os.open(folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if cache:
        os.environ["TLTUI_CACHE"] = str(cache)
    follow(script, folder)
    if fault:
        fault(folder)
    os._exit(worker.main(folder.path))


def follow(script: Script, folder: RunFolder) -> None:
    """Have each command of ``script`` sent at its step, so that all runs obey it before the same next step."""
    write = EventLog.write

    def write_and_send(log: EventLog, event: Event) -> None:
        write(log, event)
        if isinstance(event, Step):
            sent = folder.commands.read_bytes() if folder.commands.exists() else b""
            for step, command in script:
                if step == event.step and f'"{command.id}"'.encode() not in sent:
                    _send(folder, command)

    EventLog.write = write_and_send


def _send(folder: RunFolder, command: AnyCommand) -> None:
    """As one who is refused by a full disk, and tries again."""
    for _ in range(2):
        with suppress(InputError):
            send(folder, command)
            return
