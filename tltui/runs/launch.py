"""Starts, resumes and follows the worker of a run, and sends it commands."""

from __future__ import annotations

import shutil
import subprocess
import time
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.config.schema import RunConfig
from engine.config.toml_io import changed_value, with_live_setting
from engine.errors import InputError
from engine.runs.command_log import new_command_id, send
from engine.runs.commands import Command, Set
from engine.runs.event_log import EventTail
from engine.runs.events import AnyEvent, CommandApplied, CommandRejected, RunFinished
from engine.runs.folder import RunFolder, create
from engine.runs.lock import is_locked
from engine.runs.run_status import RunStatus
from engine.runs.state import in_force
from engine.system.interpreter import environment, python_module
from engine.system.process_signals import blocked
from tltui.runs.registry import START_SECONDS, read, status

ENGINE = python_module("engine.process.worker")


_POLL = 0.1  # seconds between polls of a run's folder


class EngineLost(Exception):
    """The worker of a run died before the run finished."""


def start(runs: Path, config: RunConfig) -> tuple[RunFolder, subprocess.Popen[bytes]]:
    """Create a run and start its worker. Raises InputError where either fails, and leaves no folder."""
    folder = create(runs, config)
    return folder, start_first_engine(folder)


def start_first_engine(folder: RunFolder) -> subprocess.Popen[bytes]:
    """Start the worker of a new run; removes the folder where it can't start."""
    try:
        return start_engine(folder)
    except InputError:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise


def resume(folder: RunFolder, changes: Mapping[str, str] | None = None) -> subprocess.Popen[bytes] | None:
    """Resume a run with ``changes`` of its settings; None where it has completed.

    Raises InputError as ``prepare_resume`` does.
    """
    return start_engine(folder) if prepare_resume(folder, changes) else None


def prepare_resume(folder: RunFolder, changes: Mapping[str, str] | None = None) -> bool:
    """Send ``changes`` of settings to the worker that will resume a run; False where the run has completed.

    A completed run is resumed where ``changes`` give it more epochs. Values may be relative, as ``changed_value`` says.

    Raises InputError where a worker is running or would write through a link, and for a setting that can't change.
    """
    if is_locked(folder):
        raise InputError(f"run {folder.id} is being trained; `tltui attach {folder.id[:4]}` shows it")
    state = read(folder, steps=False)
    config = now = in_force(folder.load_config(), state)
    commands = [
        Set(id=new_command_id(), key=key, value=changed_value(now, key, text)) for key, text in (changes or {}).items()
    ]
    for command in commands:
        config = with_live_setting(config, command.key, command.value)
    has_more = "train.epochs" in (changes or {}) and config.train.epochs > len(state.epochs)
    if state.status is RunStatus.COMPLETED and not has_more:
        return False
    folder.refuse_links()
    for command in commands:
        send(folder, command)
    return True


def start_engine(folder: RunFolder) -> subprocess.Popen[bytes]:
    """Start a run's worker in a session of its own: it outlives this process.

    Signals are blocked at first, so that an early one waits for the worker's handler. Raises InputError.
    """
    try:
        with blocked(), folder.open_log() as log:
            return subprocess.Popen(
                [*ENGINE, str(folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment(),
            )
    except OSError as error:
        raise InputError(
            f"{folder.path}: no worker can be started there ({error.strerror}); free disk space, then retry"
        ) from None


def follow(folder: RunFolder, process: subprocess.Popen[bytes] | None = None) -> Iterator[AnyEvent | None]:
    """A run's events from the first to the last, as they come; None whenever there is no new one.

    Where another log replaces the one read so far, its events follow from the first new one. Raises EngineLost where
    the worker died before its ``run_finished`` event.
    """
    tail = EventTail(folder)
    yielded = _Yielded()
    began = time.monotonic()
    last: AnyEvent | None = None
    while True:
        gone = process.poll() is not None if process else not is_locked(folder)
        beginnings, coming = tail.beginnings, tail.poll()
        if tail.beginnings != beginnings:
            yielded.restart()
        for event in coming:
            last = event
            if yielded.is_new(event):
                yield event
        # A stopped run may have been resumed, and finish differently.
        if gone and isinstance(last, RunFinished) and (process is None or process.returncode == last.exit_code):
            return
        if gone and (process or time.monotonic() - began > START_SECONDS or _has_begun(folder)):
            raise EngineLost(f"the worker of run {folder.id} is gone; {folder.log} may have the reason")
        yield None
        time.sleep(_POLL)


class _Yielded:
    """Hashes of the yielded events, 8 bytes each, so that a replaced log yields none twice."""

    def __init__(self) -> None:
        self._events = array("q")
        self._at = 0

    def restart(self) -> None:
        """The log is read from its first event again."""
        self._at = 0

    def is_new(self, event: AnyEvent) -> bool:
        """Whether the next event is new; call it once for each event."""
        this = hash((event.seq, event.time, type(event)))
        known = self._at < len(self._events) and self._events[self._at] == this
        if not known:
            del self._events[self._at :]
            self._events.append(this)
        self._at += 1
        return not known


def _has_begun(folder: RunFolder) -> bool:
    return folder.lock.exists()


def send_and_wait(folder: RunFolder, command: Command, timeout: float = 30.0) -> CommandApplied | CommandRejected:
    """Send a command and wait ``timeout`` seconds for its event. Raises InputError where none comes."""
    state = read(folder, steps=False)
    if not is_locked(folder):
        raise InputError(f"run {folder.id} is not running ({status(folder, state)}); nothing to control")
    send(folder, command)
    tail = EventTail(folder)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for event in tail.poll():
            if isinstance(event, CommandApplied | CommandRejected) and getattr(event.command, "id", "") == command.id:
                return event
        if not is_locked(folder):
            raise InputError(f"run {folder.id} ended before it applied the command; `tltui resume` applies it")
        time.sleep(_POLL)
    raise InputError(f"run {folder.id} has not answered for {timeout:.0f} s; it applies the command at its next step")
