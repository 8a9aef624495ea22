"""A run is a folder: its layout, its event log, its command log and the lock of its one writer. Imports no torch."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import psutil

from engine.config import RunConfig, load, to_toml
from engine.errors import InputError
from engine.protocol import AnyCommand, AnyEvent, Command, Event, decode_command, decode_event, encode
from engine.regular_files import open_regular


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run. Nothing is read or written until a method is called."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "run.toml"

    @property
    def model(self) -> Path:
        return self.path / "model.json"

    @property
    def splits(self) -> Path:
        return self.path / "splits.csv"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def commands(self) -> Path:
        return self.path / "commands.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "engine.log"

    @property
    def lock(self) -> Path:
        return self.path / "engine.lock"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.csv"

    def load_config(self) -> RunConfig:
        """The config as it was validated when the run was made. Raises InputError."""
        return load(self.config)


def create(runs: Path, config: RunConfig) -> RunFolder:
    """Make a new run's folder (mode 0700) below ``runs`` and write its run.toml. Raises InputError."""
    label = re.sub(r"[^a-z0-9]+", "-", f"{data_label(config)} {config.model.name}".lower()).strip("-")[:60]
    try:
        runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            path = runs / f"{secrets.token_hex(2)}-{label}"
            try:
                path.mkdir(mode=0o700)
                path.chmod(0o700)  # whatever the umask made of it
                break
            except FileExistsError:
                continue
        folder = RunFolder(path.resolve())
        write_atomically(folder.config, to_toml(config).encode())
    except OSError as error:
        raise InputError(
            f"{runs}: can't hold runs ({error.strerror}); choose another folder with --runs-dir or $TLTUI_RUNS"
        ) from None
    return folder


def data_label(config: RunConfig) -> str:
    """A short name of the data: the folder's or file's name, the dataset's class, or "digits"."""
    if config.data.source in ("folder", "csv"):
        return Path(config.data.path).stem
    return config.data.name or config.data.source


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a machine that loses power, finds the old content or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb", opener=_private) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Lock:
    """Held by the one engine that may write to a run, until its process ends."""

    def __init__(self, folder: RunFolder) -> None:
        """Raises InputError where another process holds the lock."""
        self._file = open(folder.lock, "a+b", opener=_private)  # noqa: SIM115 (held until the process ends)
        # Someone who only looks whether the run is locked holds the lock for an instant, too.
        patience = time.monotonic() + 1.0
        while not self._taken():
            if time.monotonic() > patience:
                self._file.close()
                raise InputError(f"run {folder.id} is already being trained{_holder(folder)}; attach to it instead")
            time.sleep(0.02)
        self._file.truncate(0)
        self._file.write(json.dumps(_identity()).encode())
        self._file.flush()

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def _holder(folder: RunFolder) -> str:
    try:
        holder = json.loads(folder.lock.read_bytes())
        return f" by process {int(holder['process_id'])} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def is_locked(folder: RunFolder) -> bool:
    """Whether an engine holds the run's lock."""
    try:
        file = open_regular(folder.lock, follow=False)
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


class EventLog:
    """The one writer of events.jsonl: numbers the events, stamps them, writes each as one line."""

    def __init__(self, folder: RunFolder) -> None:
        self._fd = os.open(folder.events, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._seq = 0

    def write(self, event: Event) -> None:
        """Append ``event``; it is on its way to the disk when this returns."""
        self._seq += 1
        event.seq, event.time = self._seq, time.time()
        line = encode(event)
        while line:
            line = line[os.write(self._fd, line) :]

    def sync(self) -> None:
        """Wait until everything written so far would survive a loss of power."""
        os.fsync(self._fd)


class _Tail:
    """Follows a file of lines: what was completed since the last look; a line without its end waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def lines(self) -> Iterator[bytes]:
        if self._file is None:
            try:
                self._file = open_regular(self._path, follow=False)
            except OSError:  # not there yet; or a link or a pipe, in a folder that came from elsewhere
                return
        while chunk := self._file.read(1 << 20):
            *complete, self._rest = (self._rest + chunk).split(b"\n")
            yield from complete
            if len(self._rest) > _LONGEST_LINE:
                self._rest = _CUT  # its end will come as a line that nobody can read


class EventTail:
    """Follows a run's events; lines that are no events are counted in ``broken`` and passed over.

    Without ``steps``, for those who need no curves, the events of steps are passed over undecoded.
    """

    def __init__(self, folder: RunFolder, *, steps: bool = True) -> None:
        self._tail = _Tail(folder.events)
        self._steps = steps
        self.broken = 0

    def poll(self) -> Iterator[AnyEvent]:
        """The events that are new since the last poll."""
        for line in self._tail.lines():
            if not self._steps and line.startswith(_STEP):
                continue
            try:
                yield decode_event(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.broken += 1


class CommandTail:
    """Follows a run's commands, in the order in which they were appended."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.commands
        self._tail = _Tail(folder.commands)
        self.refused = ""
        """Why commands are not read: others than the folder's owner may have written them."""

    def poll(self) -> Iterator[AnyCommand | str]:
        """The commands that are new since the last poll; a line that is no command comes as text.

        None from a file that someone else could have written to.
        """
        self.refused = _why_foreign(self._path)
        if self.refused:
            return
        for line in self._tail.lines():
            try:
                yield decode_command(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                yield line[:200].decode(errors="replace")


def _why_foreign(path: Path) -> str:
    """Why a file may hold what others than this user wrote, "" if it can't or is not there."""
    try:
        status = path.lstat()
    except OSError:
        return ""
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is no regular file; commands are not taken from it; remove it"
    if status.st_uid != os.geteuid():
        return f"{path} belongs to another user; commands are not taken from it; remove it"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be written by others; commands are not taken from it until `chmod go-w` is called on it"
    return ""


def send(folder: RunFolder, command: Command) -> None:
    """Append a command for the engine. Several senders may do so at once."""
    command.time = time.time()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # no link, no pipe that blocks
    try:
        fd = os.open(folder.commands, flags, 0o600)
    except OSError as error:
        raise InputError(f"{folder.commands}: no command can be written there ({error.strerror})") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, encode(command))
    finally:
        os.close(fd)


def new_command_id() -> str:
    """An id that no other command has."""
    return secrets.token_hex(6)


_STEP = b'{"type":"step"'
_LONGEST_LINE = 64 * 2**20  # bytes; a thousand classes' confusion matrix takes 2 MiB
_CUT = b"(cut)"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _identity() -> dict[str, object]:
    return {
        "process_id": os.getpid(),
        "process_started": psutil.Process().create_time(),
        "boot": psutil.boot_time(),
        "host": socket.gethostname(),
    }
