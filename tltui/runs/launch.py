"""Starts, resumes, follows and asks the worker of a run."""

from __future__ import annotations

import shutil
import subprocess
import time
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.config.schema import RunConfig
from engine.config.toml_io import parse_value, with_live_setting
from engine.errors import InputError
from engine.runs.command_log import new_command_id, send
from engine.runs.commands import Command, Set
from engine.runs.event_log import EventTail
from engine.runs.events import AnyEvent, CommandApplied, CommandRejected, RunFinished
from engine.runs.folder import RunFolder, create
from engine.runs.lock import is_locked
from engine.system.interpreter import environment, python_module
from engine.system.process_signals import blocked
from tltui.runs.registry import START_SECONDS, read, status

ENGINE = python_module("engine.process.worker")


_POLL = 0.1  # seconds between looks at a run's folder


class EngineLost(Exception):
    """The engine of a run that has not finished is gone."""


def start(runs: Path, config: RunConfig) -> tuple[RunFolder, subprocess.Popen[bytes]]:
    """Make a run and start its engine. Raises InputError where that can't be done; nothing is left of the run then."""
    folder = create(runs, config)
    return folder, start_first_engine(folder)


def start_first_engine(folder: RunFolder) -> subprocess.Popen[bytes]:
    """Start the engine of a run that was made just now; one that can't be started leaves no folder."""
    try:
        return start_engine(folder)
    except InputError:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise


def resume(folder: RunFolder, changes: Mapping[str, str] | None = None) -> subprocess.Popen[bytes] | None:
    """Start an engine that goes on with a run, with other settings than before; None where it is completed.

    Raises InputError as ``prepare_resume`` does.
    """
    return start_engine(folder) if prepare_resume(folder, changes) else None


def prepare_resume(folder: RunFolder, changes: Mapping[str, str] | None = None) -> bool:
    """Let the engine that goes on with a run find other settings than before; False where the run is completed.

    Raises InputError where an engine is at work or would write through a link, and for a setting that can't change.
    """
    if is_locked(folder):
        raise InputError(f"run {folder.id} is being trained; `tltui attach {folder.id[:4]}` shows it")
    if read(folder, steps=False).status == "completed":
        return False
    folder.refuse_links()
    config = folder.load_config()
    commands = [Set(id=new_command_id(), key=key, value=parse_value(text)) for key, text in (changes or {}).items()]
    for command in commands:
        config = with_live_setting(config, command.key, command.value)
    for command in commands:
        send(folder, command)
    return True


def start_engine(folder: RunFolder) -> subprocess.Popen[bytes]:
    """Start a run's engine as a process in a session of its own, which outlives this one.

    It begins with signals blocked, so that one that comes before it can answer waits until it can. Raises InputError.
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
            f"{folder.path}: no engine can be started there ({error.strerror}); make room, then try again"
        ) from None


def follow(folder: RunFolder, process: subprocess.Popen[bytes] | None = None) -> Iterator[AnyEvent | None]:
    """A run's events from the first to the last, waiting for those to come; None whenever there is nothing new.

    Where another log takes the place of the one read so far, its events follow from the first that was not given.
    Raises EngineLost where the engine is gone without its last event.
    """
    tail = EventTail(folder)
    given = _Given()
    began = time.monotonic()
    last: AnyEvent | None = None
    while True:
        gone = process.poll() is not None if process else not is_locked(folder)
        beginnings, coming = tail.beginnings, tail.poll()
        if tail.beginnings != beginnings:
            given.begin_anew()
        for event in coming:
            last = event
            if given.is_new(event):
                yield event
        # A run that was stopped may have gone on, and have other last words.
        if gone and isinstance(last, RunFinished) and (process is None or process.returncode == last.exit_code):
            return
        if gone and (process or time.monotonic() - began > START_SECONDS or _has_begun(folder)):
            raise EngineLost(f"the engine of run {folder.id} is gone; {folder.log} may tell why")
        yield None
        time.sleep(_POLL)


class _Given:
    """The events that were given, in 8 bytes each, so that a log that is read again gives none twice."""

    def __init__(self) -> None:
        self._events = array("q")
        self._at = 0

    def begin_anew(self) -> None:
        """The events come from the first again."""
        self._at = 0

    def is_new(self, event: AnyEvent) -> bool:
        """Whether the next event was not given before; to be asked once for each."""
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
    """Send a command and wait for the engine's answer. Raises InputError where none can come, or none does."""
    state = read(folder, steps=False)
    if not is_locked(folder):
        raise InputError(f"run {folder.id} is not running ({status(folder, state)}); nothing to steer")
    send(folder, command)
    tail = EventTail(folder)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for event in tail.poll():
            if isinstance(event, CommandApplied | CommandRejected) and getattr(event.command, "id", "") == command.id:
                return event
        if not is_locked(folder):
            raise InputError(f"run {folder.id} ended before it took the command; `tltui resume` takes it")
        time.sleep(_POLL)
    raise InputError(f"run {folder.id} has not answered for {timeout:.0f} s; it will take the command at its next step")
