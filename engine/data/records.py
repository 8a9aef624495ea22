"""Images with columns of values beside them, as shards, Parquet files and saved datasets hold them.

Imports neither torch nor Pillow: the app counts their images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.config.schema import DataConfig
from engine.config.targets import LabelColumns, LabelError
from engine.data.finding import DatasetFinding, counted
from engine.data.source import Sample, Source, from_stored_files
from engine.data.split_names import split_named
from engine.data.table_columns import LABELS, Columns, find_value_columns
from engine.data.targets import read_targets
from engine.errors import InputError
from engine.files.csv_tables import Row
from engine.files.escapes import printable
from engine.files.stored_file import ImageFile, StoredFile


@dataclass
class Records:
    """``keys``: the printable name of each image. ``heading`` and ``rows``: columns as text.

    Rows lack the last columns where these hold no labels.
    ``splits``: those of the files that hold the images. ``file(index)`` holds one image.
    ``labels``: names of label columns, the most usual first. ``lists``: columns with any number of labels in a cell.
    """

    path: Path
    heading: list[str]
    file: Callable[[int], StoredFile]
    keys: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    labels: Sequence[str] = LABELS
    lists: frozenset[str] = frozenset()
    findings: list[DatasetFinding] = field(default_factory=list)

    def __iter__(self) -> Iterator[ImageFile]:
        return (ImageFile(self.path / key, self.file(at)) for at, key in enumerate(self.keys))

    def add(self, key: str, cells: list[str], split: str) -> None:
        """Appends an image."""
        self.keys.append(key)
        self.rows.append(Row(len(self.rows) + 1, cells))
        self.splits.append(split)


def records_source(records: Records, config: DataConfig) -> Source:
    """The records as a data source. Those without a label are left out. Raises InputError."""
    findings = list(records.findings)
    try:
        columns = find_value_columns(records.heading, records.rows, config, findings, records.labels)
    except InputError as error:
        raise InputError(f"{records.path}: {error}") from None
    names = [records.heading[at] for at in columns.labels]
    may_be_empty = config.task == "multilabel" or not records.lists.isdisjoint(names)
    used = [
        at
        for at, row in enumerate(records.rows)
        if may_be_empty or all(row.cell(column).strip() for column in columns.labels)
    ]
    if unlabelled := len(records.rows) - len(used):
        count = counted(unlabelled, "image has no label and is", "images have no label and are")
        findings.append(DatasetFinding("rows_unlabelled", f"{count} left out: `tltui predict` classifies them"))
    if not used:
        raise InputError(f"{records.path}: none of its images has a label ({', '.join(names)}); set data.label_column")
    labels = [[records.rows[at].cell(column).strip() for column in columns.labels] for at in used]
    try:
        task, targets, found = read_targets(LabelColumns(names, labels), config)
    except LabelError as error:
        where = f"{records.path}, {records.keys[used[error.at]]}" if error.at >= 0 else str(records.path)
        raise InputError(f"{where}: {error}") from None
    splits = _splits(records, used, columns)
    samples = [
        Sample(
            records.keys[at],
            target.label,
            split,
            records.rows[at].cell(columns.group).strip(),
            target.numbers,
            target.text,
        )
        for at, split, target in zip(used, splits, targets.targets, strict=True)
    ]
    classes = [printable(name) for name in targets.classes]
    return from_stored_files(classes, samples, lambda at: records.file(used[at]), [*findings, *found], task)


def _splits(records: Records, used: Sequence[int], columns: Columns) -> list[str]:
    """The splits in the column of splits, where there is one, else those of the files."""
    if columns.split is None:
        return [records.splits[at] for at in used]
    splits: list[str] = []
    for at in used:
        cell = records.rows[at].cell(columns.split).strip()
        split = split_named(cell)
        if not split:
            raise InputError(
                f'{records.path}, {records.keys[at]}: split is "{printable(cell)}"; write train, val or test, or set '
                "data.split_column"
            )
        splits.append(split)
    return splits
