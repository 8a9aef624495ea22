"""A run is a folder: its layout, its event log and its command log. Imports no torch."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from engine.config.schema import RunConfig
from engine.config.toml_io import load, to_toml
from engine.errors import InputError
from engine.files.safe_open import open_regular, open_to_append
from engine.runs.events import (
    AnyCommand,
    AnyEvent,
    Command,
    Event,
    Warning,
    decode_command,
    decode_event,
    decode_events,
    encode,
)
from engine.runs.warning_codes import Warn


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
        return self.path / "engine.runs.lock"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation"

    @property
    def exports(self) -> Path:
        return self.path / "export"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.csv"

    def load_config(self) -> RunConfig:
        """The config as it was validated when the run was made. Raises InputError."""
        return load(self.config)

    def open_log(self) -> BinaryIO:
        """engine.log, to append what the engine's process prints. Raises OSError where a link stands in its place."""
        return open_to_append(self.log)

    def refuse_links(self) -> None:
        """Raises InputError where the engine would write through a link: the folder may come from someone else."""
        found = [path for path in (*self.path.glob("*"), *self.path.glob("*/*")) if path.is_symlink()]
        for path in found:
            # last and best name a checkpoint beside them.
            if path.parent == self.checkpoints and os.path.basename(path.readlink()) == str(path.readlink()):
                continue
            raise InputError(
                f"{path} is a link and may lead anywhere; put what it names in its place, or remove it, "
                "before the run goes on"
            )


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
        try:
            write_atomically(folder.config, to_toml(config).encode())
        except OSError:
            with suppress(OSError):
                path.rmdir()
            raise
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
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_or_warn(path: Path, content: bytes, warn: Warn) -> None:
    """Write a file that a run can do without atomically, unless it has that content; say so if it can't be written."""
    try:
        if not (path.is_file() and path.read_bytes() == content):
            write_atomically(path, content)
    except OSError as error:
        warn("not_written", f"{path}: can't be written ({error.strerror}); the run goes on without; make room there")


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` would survive a loss of power. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class EventLog:
    """The one writer of events.jsonl: numbers the events, stamps them, writes each as one line.

    A log that is there already is continued: a torn last line is cut off, numbers go on. Where the disk is full, lines
    wait in memory, in their order, until there is room. Any thread may write.
    """

    def __init__(self, folder: RunFolder, told: Callable[[Event], bool] = lambda _event: False) -> None:
        """``told``: whether an event is in the log already and must not be written again."""
        new = not folder.events.exists()
        self._fd = os.open(folder.events, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if new:
            with suppress(OSError):  # of a disk that is full there will be more to say
                sync_folder(folder.path)
        self._told = told
        self.listeners: list[Callable[[Event], None]] = []
        """Given each event once it is written."""
        self._seq = _repair(self._fd)
        self._waiting = bytearray()
        self._complained = False
        self._one_at_a_time = threading.RLock()

    @property
    def seq(self) -> int:
        """The number of the last event."""
        return self._seq

    def write(self, event: Event) -> None:
        """Append ``event``; it is on its way to the disk when this returns, or will be once there is room."""
        with self._one_at_a_time:
            if self._told(event):
                return
            self._number(event)
            try:
                self._flush()
            except OSError as error:
                self._complain(error)
            for listen in self.listeners:
                listen(event)

    def sync(self) -> None:
        """Wait until everything written so far would survive a loss of power. Raises OSError where it would not."""
        with self._one_at_a_time:
            self._flush()
        os.fsync(self._fd)

    def close(self, patience: float) -> None:
        """Write what still waits, for at most ``patience`` seconds, and sync. Raises OSError if that can't be done."""
        give_up = time.monotonic() + patience
        while True:
            try:
                self.sync()
                return
            except OSError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    def _number(self, event: Event) -> None:
        self._seq += 1
        event.seq, event.time = self._seq, time.time()
        self._waiting += encode(event)

    def _flush(self) -> None:
        while self._waiting:
            del self._waiting[: os.write(self._fd, self._waiting)]
        self._complained = False

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            message = (
                f"events can't be written ({error.strerror}) and wait in memory; training goes on; make room there"
            )
            self._number(Warning(code="log_waits", message=message))


def _repair(events: int) -> int:
    """Cut off a last line that has no end; returns the number of the last event."""
    end = _line_end(events, os.fstat(events).st_size)
    if end < os.fstat(events).st_size:
        os.ftruncate(events, end)
    while end:
        start = _line_end(events, end - 1)
        try:
            return msgspec.json.decode(os.pread(events, end - start, start), type=_Numbered).seq
        except (msgspec.DecodeError, UnicodeDecodeError):  # garbage that its readers pass over, too
            end = start
    return 0


def _line_end(file: int, before: int) -> int:
    """The end of the last whole line that ends at ``before`` or earlier."""
    while before > 0:
        start = max(0, before - _CHUNK)
        at = os.pread(file, before - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        before = start
    return 0


class _Numbered(msgspec.Struct):
    seq: int


class _Tail:
    """Follows a file of lines: what was completed since the last look; a line without its end waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._begin()

    def _begin(self) -> None:
        self._at = 0  # the end of the last complete line: what follows may be cut off when its writer died
        self._cut = b""  # stands for the beginning of the line there, if it is too long to be kept
        self._checksum = 0  # of all bytes before ``_at``
        self._before = b""  # the last of them

    def begins_anew(self) -> bool:
        """Whether the lines are others than those read so far, so that ``blocks`` gives them from the first.

        A copy of a run is brought up to date by a file that takes the old one's place, or is written over it. One
        that begins with all that was read is read on.
        """
        if self._file is None:
            return False
        try:
            named = self._path.stat(follow_symlinks=False)
        except OSError:  # gone: a new copy may be on its way
            return False
        if not self._is_open(named):
            try:
                file = open_regular(self._path, follow=False)
            except OSError:
                return False
            self._file.close()
            self._file = file
            if self._checksum_of_beginning() == self._checksum:
                return False
        elif named.st_size >= self._at and self._still_before():
            return False
        self._begin()
        return True

    def blocks(self) -> Iterator[bytes]:
        """Whole lines, many at once."""
        if self._file is None:
            try:
                self._file = open_regular(self._path, follow=False)
            except OSError:  # not there yet; or a link or a pipe, in a folder that came from elsewhere
                return
        self._file.seek(self._at)
        rest = b""
        while chunk := self._file.read(_CHUNK):
            chunk = rest + chunk
            end = chunk.rfind(b"\n") + 1
            block, rest = chunk[:end], chunk[end:]
            if block:
                self._pass(block)
                whole, self._cut = self._cut + block, b""
                yield whole
            if len(rest) > _LONGEST_LINE:
                self._pass(rest)
                self._cut, rest = _CUT, b""  # its end will come as a line that nobody can read

    def _pass(self, read: bytes) -> None:
        self._at += len(read)
        self._checksum = zlib.crc32(read, self._checksum)
        self._before = (self._before + read[-_REMEMBERED:])[-_REMEMBERED:]

    def _is_open(self, named: os.stat_result) -> bool:
        try:
            opened = os.fstat(self._descriptor)
        except OSError:  # on a network's disk, where another machine removed it
            return False
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def _still_before(self) -> bool:
        length = len(self._before)
        return os.pread(self._descriptor, length, self._at - length) == self._before

    def _checksum_of_beginning(self) -> int | None:
        """The checksum of as many bytes as were read; None where there are fewer."""
        checksum, at = 0, 0
        while at < self._at:
            chunk = os.pread(self._descriptor, min(_CHUNK, self._at - at), at)
            if not chunk:
                return None
            checksum, at = zlib.crc32(chunk, checksum), at + len(chunk)
        return checksum

    @property
    def _descriptor(self) -> int:
        assert self._file is not None
        return self._file.fileno()


class EventTail:
    """Follows a run's events; lines that are no events are counted in ``broken`` and passed over.

    Without ``steps``, for those who need no curves, the events of steps are passed over undecoded.
    """

    def __init__(self, folder: RunFolder, *, steps: bool = True) -> None:
        self._tail = _Tail(folder.events)
        self._steps = steps
        self._decoded: Iterator[AnyEvent] = iter(())
        self.broken = 0
        self.beginnings = 0
        """How often the log turned out to be another, or a shorter one. Its events come from the first then."""

    def poll(self) -> Iterator[AnyEvent]:
        """The events that are new since the last poll; a look at ``beginnings`` says whether they are all there are."""
        if self._tail.begins_anew():
            self._decoded, self.broken = iter(()), 0
            self.beginnings += 1
        return self._new()

    def _new(self) -> Iterator[AnyEvent]:
        yield from self._decoded
        for block in self._tail.blocks():
            self._decoded = iter(self._decode(block if self._steps else _STEPS.sub(b"", block)))
            yield from self._decoded

    def _decode(self, block: bytes) -> list[AnyEvent]:
        try:
            return decode_events(block)
        except (msgspec.DecodeError, UnicodeDecodeError):  # line by line, to pass over those that are none
            found = []
        for line in block[:-1].split(b"\n"):
            try:
                found.append(decode_event(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.broken += 1
        return found


class CommandTail:
    """Follows a run's commands, in the order in which they were appended."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.commands
        self._tail = _Tail(folder.commands)
        self.refused = ""
        """Why commands are not read: others than the folder's owner may have written them."""
        self._given: Counter[bytes] = Counter()
        self._again: Counter[bytes] = Counter()

    def poll(self) -> Iterator[AnyCommand | str]:
        """The commands that are new since the last poll; a line that is no command comes as text.

        None from a file that someone else could have written to. Where another file took its place, lines that were
        given come no second time.
        """
        self.refused = _why_foreign(self._path)
        if self.refused:
            return
        if self._tail.begins_anew():
            self._again = self._given.copy()
        for block in self._tail.blocks():
            for line in block[:-1].split(b"\n"):
                if self._again[line] > 0:
                    self._again[line] -= 1
                    continue
                self._given[line] += 1
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
    """Append a command for the engine. Several senders may do so at once. Raises InputError."""
    command.time = time.time()
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # no link, no pipe that blocks
    try:
        fd = os.open(folder.commands, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = os.fstat(fd).st_size
            torn = size and os.pread(fd, 1, size - 1) != b"\n"  # by a sender that died
            line = b"\n" * bool(torn) + encode(command)
            if os.write(fd, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
    except OSError as error:
        raise InputError(f"{folder.commands}: no command can be written there ({error.strerror})") from None


def new_command_id() -> str:
    """An id that no other command has."""
    return secrets.token_hex(6)


_STEPS = re.compile(rb'^\{"type":"step".*\n', re.MULTILINE)
_CHUNK = 1 << 20  # bytes read at a time
_REMEMBERED = 256  # bytes, to notice that a file was written anew and is longer than it was
_LONGEST_LINE = 64 * 2**20  # bytes; a thousand classes' confusion matrix takes 2 MiB
_CUT = b"(cut)"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
