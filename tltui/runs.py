"""Runs: find, list, start, follow and steer them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import platformdirs

from engine.config import RunConfig, parse_value, with_live_setting
from engine.errors import InputError
from engine.interpreter import environment, python_module
from engine.lock import is_locked
from engine.process_signals import blocked
from engine.protocol import AnyEvent, Command, CommandApplied, CommandRejected, RunFinished, Set
from engine.rundir import EventTail, RunFolder, create, new_command_id, send
from engine.state import RunState, fold_all

ENGINE = python_module("engine.worker")
_START_SECONDS = 20  # a run whose engine has not taken its lock by then has none
_POLL = 0.1  # seconds between looks at a run's folder


class RunSummary(msgspec.Struct):
    """One row of ``tltui runs``; ``created`` is in Unix seconds."""

    run: str
    path: str
    status: str
    model: str
    data: str
    epoch: int
    epochs: int
    best_val_accuracy: float | None
    trainable: int | None
    total: int | None
    created: float


class EngineLost(Exception):
    """The engine of a run that has not finished is gone."""


def runs_folder(option: str | None) -> Path:
    """Where runs are kept: the option, else $TLTUI_RUNS, else the platform's folder for user data."""
    chosen = option or os.environ.get("TLTUI_RUNS")
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_data_dir("tltui")) / "runs"


def folders(runs: Path) -> list[RunFolder]:
    """All runs, newest first."""
    found = [RunFolder(path) for path in runs.iterdir() if (path / "run.toml").is_file()] if runs.is_dir() else []
    return sorted(found, key=lambda folder: folder.config.stat().st_mtime, reverse=True)


def find(runs: Path, name: str) -> RunFolder:
    """The run that ``name`` means: an id, a unique prefix of one, a path, or "last". Raises InputError."""
    known = folders(runs)
    if name == "last" and known:
        return known[0]
    matching = [folder for folder in known if folder.id == name] or [f for f in known if f.id.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    if len(matching) > 1:
        raise InputError(
            f'"{name}" means {len(matching)} runs: {", ".join(f.id for f in matching[:5])}; write more of it'
        )
    path = Path(name).expanduser()
    if (path / "run.toml").is_file():
        return RunFolder(path.resolve())
    raise InputError(f'there is no run "{name}" in {runs}; `tltui runs` lists them')


def read(folder: RunFolder, *, steps: bool = True) -> RunState:
    """The state of a run as its log has it now."""
    return fold_all(EventTail(folder, steps=steps).poll())


def status(folder: RunFolder, state: RunState) -> str:
    """The run's status: as its events tell it, or "lost" where its engine died without a last word."""
    if state.finished or is_locked(folder):
        return state.status
    young = 0 <= time.time() - folder.config.stat().st_mtime < _START_SECONDS
    return state.status if young and state.seq == 0 else "lost"


def start(runs: Path, config: RunConfig) -> tuple[RunFolder, subprocess.Popen[bytes]]:
    """Make a run and start its engine."""
    folder = create(runs, config)
    return folder, start_engine(folder)


def resume(folder: RunFolder, changes: Mapping[str, str] | None = None) -> subprocess.Popen[bytes] | None:
    """Start an engine that goes on with a run, with other settings than before; None where it is completed.

    Raises InputError as ``get_ready`` does.
    """
    return start_engine(folder) if get_ready(folder, changes) else None


def get_ready(folder: RunFolder, changes: Mapping[str, str] | None = None) -> bool:
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

    It begins with signals blocked, so that one that comes before it can answer waits until it can.
    """
    with blocked(), folder.open_log() as log:
        return subprocess.Popen(
            [*ENGINE, str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment(),
        )


def follow(folder: RunFolder, process: subprocess.Popen[bytes] | None = None) -> Iterator[AnyEvent | None]:
    """A run's events from the first to the last, waiting for those to come; None whenever there is nothing new.

    Raises EngineLost where the engine is gone without its last event.
    """
    tail = EventTail(folder)
    began = time.monotonic()
    last: AnyEvent | None = None
    while True:
        gone = process.poll() is not None if process else not is_locked(folder)
        for event in tail.poll():
            yield (last := event)
        # A run that was stopped may have gone on, and have other last words.
        if gone and isinstance(last, RunFinished) and (process is None or process.returncode == last.exit_code):
            return
        if gone and (process or time.monotonic() - began > _START_SECONDS or _has_begun(folder)):
            raise EngineLost(f"the engine of run {folder.id} is gone; {folder.log} may tell why")
        yield None
        time.sleep(_POLL)


def _has_begun(folder: RunFolder) -> bool:
    return folder.lock.exists()


def ask(folder: RunFolder, command: Command, timeout: float = 30.0) -> CommandApplied | CommandRejected:
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
