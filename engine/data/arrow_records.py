"""Reads the labels of images in Arrow tables, and finds the image of each row.

Imports neither torch nor Pillow: the app counts the images.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from engine.config.schema import DataConfig
from engine.data.archives import tree_at
from engine.data.arrow_columns import ArrowColumns, part
from engine.data.image_paths import ImagePaths
from engine.data.records import Records
from engine.data.shards import Shard
from engine.errors import InputError, first_line
from engine.files.escapes import printable
from engine.files.stored_file import StoredFile


class ImageTable(Protocol):
    """A file with rows of images."""

    @property
    def columns(self) -> ArrowColumns:
        """The columns that are read; of bytes and paths it has one."""
        ...

    def batches(self, columns: Sequence[str], /) -> Iterator[Any]:
        """All rows with at least ``columns``, in record batches."""
        ...

    def image(self, row: int) -> StoredFile:
        """The bytes of an image in the column of bytes."""
        ...


OpenTable = Callable[[Path, DataConfig], ImageTable]
"""Opens a file. Raises InputError and OSError."""


def read_records(path: Path, shards: Sequence[Shard], config: DataConfig, open_table: OpenTable) -> Records:
    """All rows of ``shards`` in order. Reads no image. Raises InputError."""
    import pyarrow

    images = _Images()
    records = Records(path, [], images.file)
    for shard in shards:
        try:
            _add(records, images, shard, open_table(shard.path, config), config)
        except (OSError, pyarrow.ArrowException) as error:
            raise InputError(f"{shard.path}: can't be read ({first_line(error)}); copy or write it again") from None
        except InputError as error:
            raise error if str(error).startswith(str(shard.path)) else InputError(f"{shard.path}: {error}") from None
    return records


def _add(records: Records, images: _Images, shard: Shard, table: ImageTable, config: DataConfig) -> None:
    columns, start = table.columns, len(records.keys)
    names = [*columns.heading, *columns.others]
    records.heading += [name for name in names if name not in records.heading]
    records.lists |= columns.lists
    records.labels = columns.labels
    read = records.heading[: max((records.heading.index(name) + 1 for name in columns.heading), default=0)]
    places = [columns.heading.index(name) if name in columns.heading else None for name in read]
    paths: list[str] = []
    wanted = [*columns.heading, *([columns.path] if columns.path else [])]
    for batch in table.batches(wanted):
        found = [str(one or "") for one in part(batch, columns.path).to_pylist()] if columns.path else None
        for at, cells in enumerate(columns.rows(batch)):
            key = printable(found[at]) if found else f"{shard.name}/{len(records.keys) - start:06}"
            records.add(key, ["" if place is None else cells[place] for place in places], shard.split)
        paths += found or []
    if columns.path:
        images.add(start, _located(paths, Path(config.root) if config.root else shard.path.parent).__getitem__)
    else:
        images.add(start, table.image)


def _located(paths: Sequence[str], root: Path) -> list[StoredFile]:
    """The files that paths name. Raises InputError where none is there."""
    tree = tree_at(root)
    images = ImagePaths(root, tree)
    found = [images.find(path) for path in paths]
    if found and not images.found:
        raise InputError(
            f"holds paths, and none of its images was found; {paths[0]} was looked for as {found[0]}, with and "
            "without a suffix; set data.root to the folder that the paths are relative to"
        )
    return [tree.file(path) for path in found]


class _Images:
    """The images of several files, by their positions in all of them."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._images: list[Callable[[int], StoredFile]] = []

    def add(self, start: int, image: Callable[[int], StoredFile]) -> None:
        """``start``: the position of the first image of a file; ``image``: the image of its row."""
        self._starts.append(start)
        self._images.append(image)

    def file(self, index: int) -> StoredFile:
        """The image at a position."""
        at = bisect_right(self._starts, index) - 1
        return self._images[at](index - self._starts[at])
