"""WebDataset shards as a data source: tar archives of samples such as KEY.jpg, KEY.cls and KEY.json.

The format is that of https://github.com/webdataset/webdataset. Imports neither torch nor Pillow: the app uses it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.config.data_paths import TAR
from engine.config.schema import DataConfig
from engine.data.archives import open_archive
from engine.data.cell_text import ClassNames, cell_text, class_names_beside, is_list
from engine.data.file_tree import FileTree
from engine.data.image_files import SUFFIXES
from engine.data.records import Records, records_source
from engine.data.shards import find_shards
from engine.data.source import Source
from engine.data.table_columns import LABELS, is_likely
from engine.errors import InputError
from engine.files.archive_file import allow_open_files
from engine.files.escapes import name_of
from engine.files.stored_file import StoredFile

CLASS = ".cls"
"""The suffix of a member that holds the class."""
_JSON, _TEXT = ".json", ".txt"
LABEL_MEMBERS = (CLASS, _JSON, _TEXT)
"""The suffixes of members that hold labels, and the names of their columns without the dot."""
_CLASS_COLUMN, _JSON_COLUMN, _TEXT_COLUMN = (suffix[1:] for suffix in LABEL_MEMBERS)
_LARGEST = 2**24  # bytes of labels


def webdataset_source(config: DataConfig) -> Source:
    """The samples of all shards at data.path. Raises InputError."""
    return records_source(open_webdataset(config), config)


def open_webdataset(config: DataConfig) -> Records:
    """The samples of all shards at data.path, in their order. Raises InputError."""
    path = Path(config.path)
    shards, findings = find_shards(path, TAR)
    allow_open_files(len(shards))
    samples = _Samples(config, class_names_beside(path if path.is_dir() else path.parent))
    for shard in shards:
        tree = open_archive(shard.path)
        findings += tree.findings
        samples.add(tree, shard.path, shard.name, shard.split)
    records = samples.records(path)
    records.findings += findings
    return records


def archived_samples(tree: FileTree, archive: Path, config: DataConfig, suffixes: tuple[str, ...]) -> Records | None:
    """The samples of one archive, where most images have members with ``suffixes`` beside them; else None."""
    if not any(name.endswith(suffixes) for _, _, files in tree.walk(archive) for name in files):
        return None
    samples = _Samples(config, class_names_beside(archive, tree) or class_names_beside(archive.parent))
    samples.add(tree, archive, "", "")
    labelled = sum(not one.labels.keys().isdisjoint(suffixes) for one in samples.found)
    return samples.records(archive) if 2 * labelled > len(samples.found) else None


@dataclass
class _Sample:
    """The members with one key: the image, and those that may hold labels by suffix."""

    name: str
    split: str
    image: StoredFile
    labels: dict[str, StoredFile]


@dataclass
class _Samples:
    """Collects the samples of all shards."""

    config: DataConfig
    names: ClassNames
    found: list[_Sample] = field(default_factory=list)

    def add(self, tree: FileTree, archive: Path, prefix: str, split: str) -> None:
        """Adds the samples of a shard; ``prefix``: what their names begin with."""
        for parent, folders, files in tree.walk(archive):
            folders.sort()
            for members in _grouped(files):
                if image := _image_suffix(members):
                    labels = {
                        suffix: tree.file(Path(parent, members[suffix]))
                        for suffix in LABEL_MEMBERS
                        if suffix in members
                    }
                    path = Path(parent, members[image])
                    name = name_of(os.path.join(prefix, path.relative_to(archive)))
                    self.found.append(_Sample(name, split, tree.file(path), labels))

    def records(self, path: Path) -> Records:
        """The samples with the values of their labels. Raises InputError."""
        lists: set[str] = set()
        values = [self._values(one, lists) for one in self.found]
        heading = list(dict.fromkeys(column for row in values for column in row))
        records = Records(
            path,
            heading,
            lambda at: self.found[at].image,
            labels=(_CLASS_COLUMN, *LABELS, _JSON_COLUMN, _TEXT_COLUMN),
            lists=frozenset(lists),
        )
        for one, row in zip(self.found, values, strict=True):
            records.add(one.name, [row.get(column, "") for column in heading], one.split)
        return records

    def _values(self, sample: _Sample, lists: set[str]) -> dict[str, str]:
        """The values of a sample by column; adds the columns of lists to ``lists``."""
        values: dict[str, str] = {}
        for suffix, file in sample.labels.items():
            try:
                text = file.read(_LARGEST).content.decode("utf-8-sig")
                found = json.loads(text) if suffix == _JSON else text.strip()
            except (OSError, ValueError, RecursionError) as error:
                raise InputError(f"{sample.name}: its label {suffix} can't be read ({error}); pack it again") from None
            columns = found if isinstance(found, dict) else {suffix[1:]: found}
            for column, value in columns.items():
                if is_list(value):
                    lists.add(column)
                elif not isinstance(value, str | int | float):
                    continue
                if f".{column}" in LABEL_MEMBERS or isinstance(value, int | float) or is_likely(column, self.config):
                    values[column] = self._text(column, value)
        return values

    def _text(self, column: str, value: object) -> str:
        names = self.names.get(column) or self.names.get("", ())
        number = int(value) if column == _CLASS_COLUMN and isinstance(value, str) and value.isdecimal() else value
        return cell_text(number, names if column in (_CLASS_COLUMN, *LABELS, *self.config.label_column) else ())


def _grouped(files: list[str]) -> Iterator[dict[str, str]]:
    """The files of each key by suffix: a key ends at the first dot of a name."""
    samples: dict[str, dict[str, str]] = {}
    for name in files:
        key, dot, suffix = name.partition(".")
        if key:
            samples.setdefault(key, {}).setdefault(f"{dot}{suffix}".lower(), name)
    return iter(samples.values())


def _image_suffix(members: dict[str, str]) -> str:
    """The suffix of a sample's image: one such as .jpg, else one such as .left.jpg; "" where there is none."""
    images = [suffix for suffix in members if os.path.splitext(f"_{suffix}")[1] in SUFFIXES]
    return next((suffix for suffix in images if suffix in SUFFIXES), images[0] if images else "")
