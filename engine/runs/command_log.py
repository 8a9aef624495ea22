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
    """Follows a run's commands, in the order in which they were appended."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.commands
        self._tail = LineTail(folder.commands)
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
