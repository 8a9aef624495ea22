"""Follows a file of lines that another process appends to."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from engine.files.safe_open import open_regular


class LineTail:
    """Follows a file of lines; yields lines once they are complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._begin()

    def _begin(self) -> None:
        self._at = 0  # the end of the last complete line; a torn line after it may be cut off
        self._cut = b""  # replaces the beginning of a line that is too long to keep
        self._checksum = 0  # of all bytes before ``_at``
        self._before = b""  # the last of these bytes

    def begins_anew(self) -> bool:
        """Whether the file was replaced or rewritten, so that ``blocks`` yields its lines from the first.

        A synced copy of a run is replaced or overwritten. Where it begins with all that was read, reading continues.
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
        elif named.st_size >= self._at and self._is_unchanged():
            return False
        self._begin()
        return True

    def blocks(self) -> Iterator[bytes]:
        """Complete lines, many at once."""
        if self._file is None:
            try:
                self._file = open_regular(self._path, follow=False)
            except OSError:  # not there yet; or a link or a pipe, in a folder that came from elsewhere
                return
        self._file.seek(self._at)
        rest = b""
        while chunk := self._file.read(CHUNK):
            chunk = rest + chunk
            end = chunk.rfind(b"\n") + 1
            block, rest = chunk[:end], chunk[end:]
            if block:
                self._advance(block)
                whole, self._cut = self._cut + block, b""
                yield whole
            if len(rest) > _LONGEST_LINE:
                self._advance(rest)
                self._cut, rest = _CUT, b""  # its end comes as a line that no reader can decode

    def _advance(self, read: bytes) -> None:
        self._at += len(read)
        self._checksum = zlib.crc32(read, self._checksum)
        self._before = (self._before + read[-_REMEMBERED:])[-_REMEMBERED:]

    def _is_open(self, named: os.stat_result) -> bool:
        try:
            opened = os.fstat(self._descriptor)
        except OSError:  # another machine removed it from a network disk
            return False
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def _is_unchanged(self) -> bool:
        length = len(self._before)
        return os.pread(self._descriptor, length, self._at - length) == self._before

    def _checksum_of_beginning(self) -> int | None:
        """The checksum of as many bytes as were read; None if the file has fewer."""
        checksum, at = 0, 0
        while at < self._at:
            chunk = os.pread(self._descriptor, min(CHUNK, self._at - at), at)
            if not chunk:
                return None
            checksum, at = zlib.crc32(chunk, checksum), at + len(chunk)
        return checksum

    @property
    def _descriptor(self) -> int:
        assert self._file is not None
        return self._file.fileno()


CHUNK = 1 << 20  # bytes read at a time


_REMEMBERED = 256  # bytes, to detect a rewritten file that is longer than before


_LONGEST_LINE = 64 * 2**20  # bytes; a thousand classes' confusion matrix takes 2 MiB


_CUT = b"(cut)"
