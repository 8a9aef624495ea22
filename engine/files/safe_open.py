"""Opens untrusted paths safely: regular files only, never a pipe that blocks or an endless device."""

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
    """Open a regular file to read its bytes; never blocks.

    Raises OSError; for another kind of file its ``strerror`` names the kind. Without ``follow`` a link is refused.
    """
    status = os.stat(path, follow_symlinks=follow)
    _check(status, path)
    # Another process may have replaced the file since, so the descriptor is checked, too.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    try:
        _check(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def open_to_append(path: Path) -> BinaryIO:
    """Open a file to append; create it with mode 0600 if it is missing. Raises OSError, also for a link."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "ab")
