"""Files that images are read from, on disk or inside an archive. Imports no torch."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from engine.files.safe_open import open_regular

_STATUS = struct.Struct("<QQQqq")  # device, inode, size, mtime and ctime in ns
STAMP_BYTES = _STATUS.size
LARGEST_FILE = 2 * 2**30  # bytes; every image within Pillow's pixel limit fits, even uncompressed


class Stamp(NamedTuple):
    """``identity``: STAMP_BYTES bytes that differ once the content may differ. ``changed_ns``: the last change."""

    identity: bytes
    changed_ns: int


class FileContent(NamedTuple):
    """The bytes of a file; ``stamp`` is None where the file changed while it was read."""

    content: bytes
    stamp: Stamp | None


class StoredFile(Protocol):
    """One file of a dataset. Several threads and forked processes may read it."""

    def stamp(self) -> Stamp:
        """Identifies the content without reading it. Raises OSError, or ValueError for an impossible name."""
        ...

    def read(self, most: int) -> FileContent:
        """The whole content. Raises OSError, also for more than ``most`` bytes."""
        ...

    def first_bytes(self, count: int) -> bytes:
        """Up to ``count`` bytes from the beginning. Raises OSError."""
        ...


class ImageFile(NamedTuple):
    """An image without a label: its ``path``, which may lead into an archive or a table, and the file."""

    path: Path
    file: StoredFile


@dataclass(frozen=True, slots=True)
class DiskFile:
    """A file on disk."""

    path: Path

    def stamp(self) -> Stamp:
        return stamp_of(os.stat(self.path))

    def read(self, most: int) -> FileContent:
        with open_regular(self.path) as file:
            before = os.fstat(file.fileno())
            refuse_larger(before.st_size, most, str(self.path))
            content = file.read()
            unchanged = stamp_of(before) == stamp_of(os.fstat(file.fileno()))
        return FileContent(content, stamp_of(before) if unchanged else None)

    def first_bytes(self, count: int) -> bytes:
        with open_regular(self.path) as file:
            return file.read(count)


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file by its status, as in git's index."""
    identity = _STATUS.pack(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return Stamp(identity, max(status.st_mtime_ns, status.st_ctime_ns))


def refuse_larger(size: int, most: int, name: str) -> None:
    """Raises OSError for a file of more than ``most`` bytes."""
    if size > most:
        raise OSError(errno.EFBIG, f"it has {size / 2**30:,.0f} GiB, more than an image takes", name)
