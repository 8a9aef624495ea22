"""An open archive that threads and forked processes read together. Imports no torch."""

from __future__ import annotations

import hashlib
import io
import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.files.safe_open import open_regular
from engine.files.stored_file import STAMP_BYTES, FileContent, Stamp, refuse_larger, stamp_of

_OTHER_FILES = 512  # that a process has open beside archives


class ArchiveFile:
    """A file with positional reads. They move no shared offset, so they need no lock and survive a fork."""

    def __init__(self, path: Path) -> None:
        """Open the archive. Raises OSError."""
        self.path = path
        self._file = open_regular(path)

    def __repr__(self) -> str:
        return f"ArchiveFile({str(self.path)!r})"  # the same in every process

    @property
    def stream(self) -> BinaryIO:
        """The archive as a stream, to list its members before other threads read it."""
        return self._file

    def stamp(self) -> Stamp:
        """The stamp of the whole archive. Raises OSError."""
        return stamp_of(os.fstat(self._file.fileno()))

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``offset``, fewer at the end of the archive. Raises OSError."""
        parts: list[bytes] = []
        while count and (part := os.pread(self._file.fileno(), count, offset)):
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def allow_open_files(count: int) -> None:
    """Raises the limit of open files so that ``count`` more can be open, as far as the system lets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _OTHER_FILES
    if soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


class ArchiveReader(io.RawIOBase):
    """A stream over an archive with a position of its own."""

    def __init__(self, archive: ArchiveFile) -> None:
        self._archive = archive
        self._size = os.fstat(archive.stream.fileno()).st_size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        content = self._archive.read_at(self._at, max(self._size - self._at, 0) if size < 0 else size)
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at


def stamp_of_member(archive: Stamp, member: bytes) -> Stamp:
    """The stamp of what ``member`` identifies within an archive or a table with this stamp."""
    identity = hashlib.blake2b(archive.identity + member, digest_size=STAMP_BYTES).digest()
    return Stamp(identity, archive.changed_ns)


@dataclass(frozen=True, slots=True)
class PlainMember:
    """A member whose bytes stand in the archive as they are."""

    archive: ArchiveFile
    offset: int
    size: int

    def stamp(self) -> Stamp:
        return stamp_of_member(self.archive.stamp(), b"%d %d" % (self.offset, self.size))

    def read(self, most: int) -> FileContent:
        refuse_larger(self.size, most, str(self.archive.path))
        before = self.stamp()
        content = self.archive.read_at(self.offset, self.size)
        if len(content) < self.size:
            raise OSError("it is truncated: the archive ends within it")
        return FileContent(content, before if before == self.stamp() else None)

    def first_bytes(self, count: int) -> bytes:
        return self.archive.read_at(self.offset, min(count, self.size))
