"""Evicts the least recently used spaces where the cache would exceed its limit."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.cache.folder import KINDS, limit, space_folders, used
from engine.cache.space_lock import LOCK, is_current, last_used, try_lock

_REMOVED = ".removed-"


@contextmanager
def evict_until_fits(root: Path, wanted: int) -> Iterator[bool]:
    """Evict least recently used spaces until ``wanted`` more bytes fit; yields whether they do.

    No other process can reserve space inside the block. Raises OSError.
    """
    lock = os.open(root / LOCK, os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _fits(root, wanted):
            remove_leftovers(root)
            for space in sorted(space_folders(root), key=last_used):
                if _fits(root, wanted):
                    break
                remove(space)
        yield _fits(root, wanted)
    finally:
        os.close(lock)


def remove(space: Path) -> bool:
    """Remove a space unless a running process has it open."""
    try:
        lock = os.open(space / LOCK, os.O_RDONLY | os.O_CREAT, 0o600)
    except OSError:
        return False
    try:
        if not (try_lock(lock) and is_current(lock, space)):
            return False
        # Renamed first, so that a process that opens the space meanwhile starts a new one.
        doomed = space.with_name(f"{_REMOVED}{secrets.token_hex(4)}")
        os.rename(space, doomed)
    except OSError:
        return False
    finally:
        os.close(lock)
    shutil.rmtree(doomed, ignore_errors=True)
    return True


def remove_leftovers(root: Path) -> None:
    """Remove the rest of spaces whose removal was interrupted."""
    for kind in KINDS:
        for leftover in (root / kind).glob(f"{_REMOVED}*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _fits(root: Path, wanted: int) -> bool:
    return used(root) + wanted <= limit(root)
