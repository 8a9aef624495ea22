"""Parquet files with a column of images as a data source.

Imports neither torch nor Pillow: the app counts the images.
"""

from __future__ import annotations

import errno
import os
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from engine.config.data_paths import PARQUET
from engine.config.schema import DataConfig
from engine.data.arrow_columns import find_arrow_columns, import_pyarrow, part, with_one_part
from engine.data.arrow_records import read_records
from engine.data.records import Records, records_source
from engine.data.shards import find_shards
from engine.data.source import Source
from engine.errors import first_line
from engine.files.archive_file import ArchiveFile, ArchiveReader, allow_open_files, stamp_of_member
from engine.files.stored_file import FileContent, Stamp, StoredFile, refuse_larger

_BATCH_BYTES = 16 * 2**20  # of images that are decompressed together
_FEWEST, _MOST = 16, 1024  # rows of a batch
_KEPT = 3  # batches: threads that read one after the other ask for neighbours in any order
_BUFFER = 2**20  # bytes; without a buffer a whole column of a row group is read at once


def parquet_source(config: DataConfig) -> Source:
    """The rows of all Parquet files at data.path. Raises InputError."""
    return records_source(open_parquet(config), config)


def open_parquet(config: DataConfig) -> Records:
    """The rows of all Parquet files at data.path, in their order. Raises InputError."""
    path = Path(config.path)
    import_pyarrow(path)
    shards, findings = find_shards(path, PARQUET)
    allow_open_files(len(shards))
    records = read_records(path, shards, config, ParquetTable)
    records.findings += findings
    return records


class ParquetTable:
    """A file whose images are read by row."""

    def __init__(self, path: Path, config: DataConfig) -> None:
        """Raises InputError, OSError and pyarrow's errors."""
        self._archive = ArchiveFile(path)
        file = _open(self._archive)
        columns = find_arrow_columns(file.schema_arrow, config)
        if columns.content and columns.path and file.metadata.num_rows:
            columns = with_one_part(columns, next(_batches(file, 1, [columns.content])))
        self.columns = columns
        self._images = ParquetImages(self._archive, columns.content)

    def batches(self, columns: Sequence[str], /) -> Iterator[Any]:
        """All rows of ``columns``, in record batches."""
        return _batches(_open(self._archive), _MOST, columns)

    def image(self, row: int) -> StoredFile:
        """The bytes of an image."""
        return ParquetImage(self._images, row)


@dataclass(frozen=True, slots=True)
class ParquetImage:
    """The bytes in one row of a column."""

    images: ParquetImages
    row: int

    def stamp(self) -> Stamp:
        return stamp_of_member(self.images.archive.stamp(), f"{self.row} {self.images.column}".encode())

    def read(self, most: int) -> FileContent:
        before = self.stamp()
        content = self.images.read(self.row)
        refuse_larger(len(content), most, str(self.images.archive.path))
        return FileContent(content, before if before == self.stamp() else None)

    def first_bytes(self, count: int) -> bytes:
        return self.images.read(self.row)[:count]


class ParquetImages:
    """The column of images of a file. Threads and forked processes may read it: each process has its own cursor."""

    def __init__(self, archive: ArchiveFile, column: str) -> None:
        self.archive = archive
        self.column = column
        self._cursors: dict[int, _Cursor] = {}

    def __repr__(self) -> str:
        return f"ParquetImages({self.archive!r}, {self.column!r})"  # the same in every process

    def read(self, row: int) -> bytes:
        """The bytes in a row, none where its cell is empty. Raises OSError."""
        process = os.getpid()
        cursor = self._cursors.get(process) or self._cursors.setdefault(process, _Cursor(self.archive, self.column))
        return cursor.read(row)


class _Cursor:
    """Reads rows in batches of some megabytes. It is fast for rows in about their order."""

    def __init__(self, archive: ArchiveFile, column: str) -> None:
        self._archive = archive
        self._column = column
        self._lock = threading.Lock()
        self._file: Any = None
        self._groups: list[int] = []  # the first row of each row group, and the number of all rows
        self._ahead: Iterator[Any] = iter(())
        self._group = -1  # the row group that batches are read from
        self._next = 0  # the row with which the next batch begins
        self._kept: deque[tuple[int, Any]] = deque(maxlen=_KEPT)

    def read(self, row: int) -> bytes:
        """The bytes in a row. Raises OSError."""
        import pyarrow

        with self._lock:
            try:
                start, images = self._batch_of(row)
            except (pyarrow.ArrowException, StopIteration) as error:
                self._group = -1
                raise OSError(errno.EIO, f"its data are damaged ({first_line(error)})") from None
            return images[row - start].as_py() or b""

    def _batch_of(self, row: int) -> tuple[int, Any]:
        """The batch with a row: the batch's first row and its images."""
        for start, images in self._kept:
            if start <= row < start + len(images):
                return start, images
        if self._file is None:
            self._file = _open(self._archive)
            metadata = self._file.metadata
            counts = (metadata.row_group(at).num_rows for at in range(metadata.num_row_groups))
            self._groups = list(accumulate(counts, initial=0))
        group = bisect_right(self._groups, row) - 1
        if group != self._group or row < self._next:
            self._group, self._next = group, self._groups[group]
            self._ahead = _batches(self._file, self._batch_rows(group), [self._column], [group])
        while True:
            start, images = self._next, part(next(self._ahead), self._column)
            self._next += len(images)
            if row < self._next:
                self._kept.append((start, images))
                return start, images

    def _batch_rows(self, group: int) -> int:
        """The number of rows in a row group whose images take some megabytes."""
        metadata = self._file.metadata.row_group(group)
        columns = (metadata.column(at) for at in range(metadata.num_columns))
        size = sum(one.total_uncompressed_size for one in columns if one.path_in_schema == self._column)
        return min(max(_BATCH_BYTES * metadata.num_rows // max(size, 1), _FEWEST), _MOST)


def _open(archive: ArchiveFile) -> Any:  # noqa: ANN401 (pyarrow has no types)
    from pyarrow import PythonFile, parquet

    return parquet.ParquetFile(PythonFile(ArchiveReader(archive), "r"), buffer_size=_BUFFER, pre_buffer=False)


def _batches(file: Any, rows: int, columns: Sequence[str], groups: Sequence[int] | None = None) -> Iterator[Any]:  # noqa: ANN401
    """Record batches of a file. Uses no threads, which a forked process would lack."""
    return file.iter_batches(rows, row_groups=groups, columns=list(columns), use_threads=False)
