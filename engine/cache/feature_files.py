"""A pair of files that stores rows of bytes: ID.bin has the rows, ID.idx the blocks that list complete rows.

A writer appends rows, syncs them, then appends a block with a checksum to the index. After a kill or a power loss
readers ignore everything behind the last whole block. One process at a time writes to a pair, by a lock on the index;
any number may read. Published rows are never overwritten.
"""

from __future__ import annotations

import os
import secrets
import shutil
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.cache.description import ABOUT
from engine.cache.index_format import BLOCK, BLOCK_MAGIC, HEADER, MAGIC
from engine.cache.space_lock import LOCK, try_lock
from engine.files.atomic import sync_folder

Keys = npt.NDArray[np.void]  # (n,) of 16 bytes each, dtype V16
Row = npt.NDArray[np.uint8]  # 1 to 4 axes, not empty
KEY = np.dtype("V16")
# Shapes end in zeros where a row has fewer than 4 axes.
ENTRY = np.dtype([("key", KEY), ("offset", "<u8"), ("shape", "<u4", 4)])

_LARGEST = 4 * 2**30  # bytes after which a writer starts a new pair


def parse_blocks(content: bytes, bin_size: int) -> tuple[npt.NDArray[np.void], int, int]:
    """Parse the whole blocks at the start of ``content``.

    Returns their entries (dtype ENTRY), their size in bytes, and the end of their rows in the .bin file (0: no block).
    Parsing ends at a damaged block or one whose rows reach beyond ``bin_size``.
    """
    parts, at, rows_end = [], 0, 0
    while at + BLOCK.size <= len(content):
        magic, count, end, checksum = BLOCK.unpack_from(content, at)
        stop = at + BLOCK.size + count * ENTRY.itemsize
        if magic != BLOCK_MAGIC or stop > len(content) or end > bin_size:
            break
        body = content[at + BLOCK.size : stop]
        if _checksum(count, end, body) != checksum:
            break
        parts.append(np.frombuffer(body, dtype=ENTRY))
        at, rows_end = stop, end
    return np.concatenate(parts) if parts else np.empty(0, ENTRY), at, rows_end


class RowFiles:
    """A pair of files that this process reads, and also writes once it has claimed it."""

    def __init__(self, index: Path) -> None:
        """Open a pair to read. Raises OSError, and ValueError if the files are not a pair."""
        self._index = index
        self._rows = os.open(index.with_suffix(".bin"), os.O_RDONLY)
        self._claimed: int | None = None  # the index, while it is claimed
        self._index_end, self._rows_end = HEADER.size, HEADER.size
        try:
            header = os.pread(self._rows, HEADER.size, 0)
            with index.open("rb") as file:
                if len(header) < HEADER.size or header[:16] != MAGIC or file.read(HEADER.size) != header:
                    raise ValueError(f"{index.name} is not an index of rows")
        except BaseException:
            os.close(self._rows)
            raise

    @classmethod
    def create(cls, space: Path) -> RowFiles:
        """Create a claimed pair. Other processes see it from its first block on. Raises OSError."""
        header = HEADER.pack(MAGIC, secrets.token_bytes(16))
        index = space / f"{secrets.token_hex(8)}.idx"
        self = cls.__new__(cls)
        self._index, self._claimed = index, None
        self._index_end, self._rows_end = HEADER.size, HEADER.size
        self._rows = os.open(index.with_suffix(".bin"), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _write(self._rows, header, 0)
            self._claimed = os.open(_hidden(index), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try_lock(self._claimed)
            _write(self._claimed, header, 0)
        except BaseException:
            self.close()
            raise
        return self

    def poll(self) -> npt.NDArray[np.void]:
        """Entries (dtype ENTRY) published since the last call. Raises OSError."""
        with self._index.open("rb") as file:
            if os.fstat(file.fileno()).st_size <= self._index_end:
                return np.empty(0, ENTRY)
            content = os.pread(file.fileno(), os.fstat(file.fileno()).st_size - self._index_end, self._index_end)
        entries, length, rows_end = parse_blocks(content, os.fstat(self._rows).st_size)
        self._index_end += length
        self._rows_end = max(self._rows_end, rows_end)
        return entries

    def claim(self) -> bool:
        """Become the writer if there is none. Raises OSError.

        False as well for a pair that is damaged, too large, or has entries not yet polled.
        """
        index = os.open(self._index, os.O_RDWR)
        rows = os.open(self._index.with_suffix(".bin"), os.O_RDWR)
        sound = (
            try_lock(index)
            and os.fstat(index).st_size == self._index_end
            and os.path.samestat(os.fstat(rows), os.fstat(self._rows))
            and self._rows_end <= min(os.fstat(rows).st_size, _LARGEST)
        )
        if sound:
            os.dup2(rows, self._rows, inheritable=False)
            self._claimed = index
        else:
            os.close(index)
        os.close(rows)
        return sound

    @property
    def name(self) -> str:
        """The index's file name."""
        return self._index.name

    @property
    def full(self) -> bool:
        """Whether the pair is too large to append to."""
        return self._rows_end >= _LARGEST

    @property
    def empty(self) -> bool:
        """Whether no block was published or polled."""
        return self._index_end == HEADER.size

    def cut(self) -> None:
        """Truncate both files after the last whole block. Raises OSError."""
        os.truncate(self._index, self._index_end)
        os.truncate(self._index.with_suffix(".bin"), self._rows_end)

    def reserve(self, size: int) -> None:
        """Extend the .bin file for ``size`` more bytes of rows. Raises OSError."""
        os.ftruncate(self._rows, self._rows_end + size)

    def append(self, keys: Sequence[bytes], rows: Sequence[Row]) -> npt.NDArray[np.void]:
        """Write, sync and publish rows, so that they survive a power loss. Returns their entries.

        Raises OSError; other processes may then see the rows, but only complete ones.
        """
        assert self._claimed is not None
        entries = np.empty(len(rows), ENTRY)
        entries["key"] = np.frombuffer(b"".join(keys), KEY)
        entries["shape"] = [(*row.shape, 0, 0, 0, 0)[:4] for row in rows]
        sizes = np.array([row.nbytes for row in rows], np.uint64)
        entries["offset"] = self._rows_end + np.cumsum(sizes) - sizes
        body = entries.tobytes()
        hidden = self.empty
        try:
            end = self._rows_end
            for row in rows:
                end = _write(self._rows, row.data.cast("B"), end)
            os.fsync(self._rows)
            block = BLOCK.pack(BLOCK_MAGIC, len(rows), end, _checksum(len(rows), end, body)) + body
            index_end = _write(self._claimed, block, self._index_end)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._claimed, self._index_end)
                os.ftruncate(self._rows, self._rows_end)
            raise
        # Other processes may read the rows from here on, so their place is never reused.
        self._index_end, self._rows_end = index_end, end
        os.fsync(self._claimed)
        if hidden:
            os.rename(_hidden(self._index), self._index)
            sync_folder(self._index.parent)
        return entries

    def read(self, offset: int, shape: tuple[int, ...]) -> Row:
        """A copy of a row. Raises OSError, and EOFError if the file was truncated."""
        row = np.empty(shape, np.uint8)
        if os.preadv(self._rows, [row.data], offset) != row.nbytes:
            raise EOFError(f"{self._index.stem}.bin is shorter than it was")
        return row

    def close(self) -> None:
        """Close the files and truncate rows that were not published."""
        if self._claimed is not None:
            with suppress(OSError):
                os.ftruncate(self._rows, self._rows_end)
                if self.empty:
                    _hidden(self._index).unlink(missing_ok=True)
                    self._index.with_suffix(".bin").unlink(missing_ok=True)
            os.close(self._claimed)
            self._claimed = None
        os.close(self._rows)


def tidy(space: Path) -> None:
    """Remove leftovers of killed writers from a space. Call it only while no other process has it open."""
    kept = {LOCK, ABOUT}
    for index in space.glob("[!.]*.idx"):
        with suppress(OSError, ValueError):
            files = RowFiles(index)
            files.poll()
            if not files.empty:
                kept |= {index.name, index.with_suffix(".bin").name}
                files.cut()
            files.close()
    for path in space.iterdir():
        if path.name not in kept:
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _hidden(index: Path) -> Path:
    return index.with_name(f".{index.name}")


def _checksum(count: int, end: int, entries: bytes) -> int:
    return zlib.crc32(entries, zlib.crc32(struct.pack("<IQ", count, end)))


def _write(descriptor: int, content: bytes | memoryview, at: int) -> int:
    """Write all of ``content``; returns where it ends."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, at)
        at, rest = at + written, rest[written:]
    return at
