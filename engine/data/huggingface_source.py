"""Datasets that Hugging Face's ``datasets`` saved on disk as a data source; the library itself is not needed.

The format is that of ``Dataset.save_to_disk`` and ``DatasetDict.save_to_disk``: uncompressed Arrow streams, so that
the bytes of each image stand in the file as they are. Imports neither torch nor Pillow: the app counts the images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.config.data_paths import is_saved_split
from engine.config.schema import DataConfig
from engine.data.arrow_columns import find_arrow_columns, import_pyarrow, part, with_one_part
from engine.data.arrow_records import read_records
from engine.data.records import Records, records_source
from engine.data.shards import Shard, with_splits
from engine.data.source import Source
from engine.data.split_names import split_named
from engine.errors import InputError
from engine.files.archive_file import ArchiveFile, PlainMember, allow_open_files
from engine.files.escapes import name_of
from engine.files.safe_open import open_regular
from engine.files.stored_file import StoredFile

_LARGEST = 2**24  # bytes of a description
_OFFSETS = {"binary": np.int32, "large_binary": np.int64}


def huggingface_source(config: DataConfig) -> Source:
    """The rows of all splits that were saved in data.path. Raises InputError."""
    return records_source(open_huggingface(config), config)


def open_huggingface(config: DataConfig) -> Records:
    """The rows of all splits that were saved in data.path, in their order. Raises InputError."""
    path = Path(config.path)
    import_pyarrow(path)
    if is_saved_split(path):
        found = _files(path, "", "")
    else:
        names = _described(path / "dataset_dict.json", "splits")
        found = [shard for name in names for shard in _files(path / name, f"{name}/", split_named(name))]
    shards, findings = with_splits(found)
    allow_open_files(len(shards))
    records = read_records(path, shards, config, ArrowTable)
    records.findings += findings
    return records


class ArrowTable:
    """An Arrow stream whose images are read by their places in the file. Only the rest is mapped into memory."""

    def __init__(self, path: Path, config: DataConfig) -> None:
        """Raises InputError, OSError and pyarrow's errors."""
        self._path = path
        self._archive = ArchiveFile(path)
        with _Mapped(path) as mapped:
            columns = find_arrow_columns(mapped.stream.schema, config)
            if first := next(iter(mapped.stream), None):
                columns = with_one_part(columns, first)
        self.columns = columns
        self._places = _places(path, columns.content) if columns.content else []

    def batches(self, _columns: Sequence[str], /) -> Iterator[Any]:
        """All rows with all columns, in record batches."""
        with _Mapped(self._path) as mapped:
            yield from mapped.stream

    def image(self, row: int) -> StoredFile:
        """The bytes of an image."""
        start, size = self._places[row].tolist()
        return PlainMember(self._archive, start, size)


class _Mapped:
    """An Arrow stream on a memory map."""

    def __init__(self, path: Path) -> None:
        import pyarrow

        open_regular(path).close()
        self._map = pyarrow.memory_map(str(path))
        self._bytes = self._map.read_buffer()
        self.stream = pyarrow.ipc.open_stream(self._bytes)

    def __enter__(self) -> _Mapped:
        return self

    def __exit__(self, *_: object) -> None:
        self._map.close()

    def place(self, buffer: Any) -> int:  # noqa: ANN401 (pyarrow has no types)
        """Where a buffer stands in the file. Raises InputError where it was decompressed."""
        at = buffer.address - self._bytes.address
        if not 0 <= at <= self._bytes.size - buffer.size:
            raise InputError("is compressed; save the dataset again with save_to_disk")
        return at


def _places(path: Path, column: str) -> np.ndarray:
    """The first byte of each image in the file and the number of its bytes: int64 (rows, 2)."""
    found = [np.empty((0, 2), np.int64)]
    with _Mapped(path) as mapped:
        for batch in mapped.stream:
            images = part(batch, column)
            kind = str(images.type)
            if kind not in _OFFSETS:
                raise InputError(f"its images are of type {kind}; save the dataset again with save_to_disk")
            _, ends, content = images.buffers()
            if not len(images):
                continue
            width = np.dtype(_OFFSETS[kind])
            limits = np.frombuffer(ends, width)[images.offset : images.offset + len(images) + 1].astype(np.int64)
            start = mapped.place(content) if content is not None else 0
            sizes = np.where(images.is_valid().to_numpy(zero_copy_only=False), np.diff(limits), 0)
            found.append(np.stack([start + limits[:-1], sizes], axis=1))
    return np.concatenate(found)


def _files(folder: Path, prefix: str, split: str) -> list[Shard]:
    """The files of one split in order. Raises InputError."""
    state = folder / "state.json"
    if _described(state, "_indices_data_files", needed=False):
        raise InputError(f"{folder}: was saved with a selection of its rows; save dataset.flatten_indices() instead")
    files = [one.get("filename") if isinstance(one, dict) else None for one in _described(state, "_data_files")]
    names = [name for name in files if isinstance(name, str) and name == Path(name).name]
    if len(names) < len(files):
        raise InputError(f"{state}: names no files in its folder; save the dataset again with save_to_disk")
    return [Shard(folder / name, name_of(f"{prefix}{name}"), split) for name in names]


def _described(path: Path, key: str, *, needed: bool = True) -> list[Any]:
    """The list ``key`` in a description. Raises InputError where it can't be read or is ``needed`` and missing."""
    try:
        with open_regular(path) as file:
            value = json.loads(file.read(_LARGEST))[key]
    except KeyError:
        value = None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: can't be read ({error}); save the dataset again with save_to_disk") from None
    if needed and not isinstance(value, list):
        raise InputError(f'{path}: has no list "{key}"; save the dataset again with save_to_disk')
    return value if isinstance(value, list) else []
