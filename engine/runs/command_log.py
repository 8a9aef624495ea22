"""Writes and follows a run's commands.jsonl. Imports no torch."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.errors import InputError
from engine.runs.commands import AnyCommand, Command, decode_command, encode
from engine.runs.folder import RunFolder
from engine.runs.line_tail import LineTail


class CommandTail:
    """Follows a run's commands in the order of the file."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.commands
        self._tail = LineTail(folder.commands)
        self.refused = ""
        """Why no command is read: others than the folder's owner can write them. Empty if they can be read."""
        self._yielded: Counter[bytes] = Counter()
        self._repeated: Counter[bytes] = Counter()

    def poll(self) -> Iterator[AnyCommand | str]:
        """The commands since the last poll; a line that is not a command comes as text.

        A file that others can write yields none. After the file is replaced, lines that it yielded before do not
        come again.
        """
        self.refused = _why_foreign(self._path)
        if self.refused:
            return
        if self._tail.begins_anew():
            self._repeated = self._yielded.copy()
        for block in self._tail.blocks():
            for line in block[:-1].split(b"\n"):
                if self._repeated[line] > 0:
                    self._repeated[line] -= 1
                    continue
                self._yielded[line] += 1
                try:
                    yield decode_command(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    yield line[:200].decode(errors="replace")


def _why_foreign(path: Path) -> str:
    """Why others than this user may have written to a file; "" if they can't have or there is no file."""
    try:
        status = path.lstat()
    except OSError:
        return ""
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is not a regular file; its commands are not applied; remove it"
    if status.st_uid != os.geteuid():
        return f"{path} belongs to another user; its commands are not applied; remove it"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be written by others; its commands are not applied; run `chmod go-w` on it"
    return ""


def send(folder: RunFolder, command: Command) -> None:
    """Append a command for the worker. Several processes may send at once. Raises InputError."""
    command.time = time.time()
    flags = (
        os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    )  # refuses a link, never blocks on a pipe
    try:
        fd = os.open(folder.commands, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = os.fstat(fd).st_size
            torn = size and os.pread(fd, 1, size - 1) != b"\n"  # a sender died in the middle of a line
            line = b"\n" * bool(torn) + encode(command)
            if os.write(fd, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
    except OSError as error:
        raise InputError(
            f"{folder.commands}: no command can be written there ({error.strerror}); "
            "check the folder's permissions and disk space"
        ) from None


def new_command_id() -> str:
    """A random id for a command."""
    return secrets.token_hex(6)
