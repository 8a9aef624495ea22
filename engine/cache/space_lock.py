"""Locks of a cache's spaces: an open space can't be evicted. The lock's mtime is the last use."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engine.cache.folder import private_folder

LOCK = "lock"


def hold(root: Path, kind: str, identity: str, tidy: Callable[[Path], None]) -> int:
    """Lock a space against removal by other processes. Raises OSError.

    Calls ``tidy(space)`` if no other process has the space open. Returns a descriptor; close it to release the lock.
    """
    for _ in range(100):  # another process may remove the space between two lines
        space = private_folder(root, kind, identity)
        try:
            lock = os.open(space / LOCK, os.O_RDONLY | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue
        try:
            if try_lock(lock) and is_current(lock, space):
                tidy(space)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if is_current(lock, space):
                touch(space)
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
    raise OSError(errno.EBUSY, "other processes keep removing it")


def touch(space: Path) -> None:
    """Mark a space as used now."""
    with suppress(OSError):  # a read-only cache
        os.utime(space / LOCK)


def try_lock(descriptor: int) -> bool:
    """Take an exclusive lock if it is free. Raises OSError if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last_used(space: Path) -> float:
    """The time at which a space was last opened or closed, in Unix seconds."""
    for path in (space / LOCK, space):
        with suppress(OSError):
            return path.stat().st_mtime
    return 0.0


def is_current(lock: int, space: Path) -> bool:
    """Whether an open lock is still the lock file of ``space``."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(space / LOCK))
    except FileNotFoundError:
        return False
