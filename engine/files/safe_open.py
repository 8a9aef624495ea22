"""Opening files that others may have laid out: never a pipe that blocks, a device without an end, or worse."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}


def open_regular(path: str | Path, *, follow: bool = True) -> BinaryIO:
    """Open a file to read its bytes; returns at once, whatever lies there.

    Raises OSError, with what it is in ``strerror`` where it is no regular file. Without ``follow`` a link is none.
    """
    what = os.stat(path, follow_symlinks=follow)
    _check(what, path)
    # It may have become something else since, so the descriptor is looked at, too.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    try:
        _check(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check(what: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(what.st_mode):
        kind = _KINDS.get(stat.S_IFMT(what.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def open_to_append(path: Path) -> BinaryIO:
    """A file (0600) to append to, made if there is none. Raises OSError, also where a link stands in its place."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "ab")
