"""A table of image paths and labels as a data source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine.compute.task import LabelColumns, LabelError
from engine.config.schema import DataConfig
from engine.data.finding import Finding
from engine.data.image_paths import ImagePaths
from engine.data.source import Sample, Source, from_files
from engine.data.split_names import split_named
from engine.data.table_columns import USUAL_NAMES, Columns, find_columns
from engine.data.targets import read_targets
from engine.errors import InputError
from engine.files.csv_tables import Row, TableError, decoded, read_table
from engine.files.escapes import printable
from engine.files.safe_open import open_regular

_LISTED = 5


class _Record(NamedTuple):
    """One row of the table: the path as written and the file that it names."""

    path: str
    labels: tuple[str, ...]
    split: str
    group: str
    file: Path
    line: int


def csv_source(config: DataConfig) -> Source:
    """A table with a path and labels per image, optionally with splits and groups. Raises InputError.

    Paths are relative to data.root, else to the table's folder, and may lack the suffix.
    """
    table = Path(config.path)
    findings: list[Finding] = []
    heading, rows = _read(table, config)
    try:
        columns = find_columns(heading, rows, config, findings)
    except InputError as error:
        raise InputError(f"{table}: {error}") from None
    root = Path(config.root) if config.root else table.parent
    records = _records(table, rows, columns, root, may_be_empty=config.task == "multilabel")
    if any(one.split for one in records) and not all(one.split for one in records):
        name = heading[columns.split or 0]
        raise InputError(f"{table}: the column {name} is filled in some rows only; fill it in all or in none")
    records = _without_repeated(table, records, findings, merge=config.task == "multilabel")
    columns_read = LabelColumns([heading[at] for at in columns.labels], [list(one.labels) for one in records])
    try:
        task, targets, finding = read_targets(columns_read, config)
    except LabelError as error:
        where = f"{table}, line {records[error.at].line}" if error.at >= 0 else str(table)
        raise InputError(f"{where}: {error}") from None
    samples = [
        Sample(printable(one.path), target.label, one.split, one.group, target.numbers, target.text)
        for one, target in zip(records, targets.targets, strict=True)
    ]
    classes = [printable(name) for name in targets.classes]
    return from_files(classes, samples, lambda at: records[at].file, [*findings, *finding], task)


def _read(table: Path, config: DataConfig) -> tuple[list[str], list[Row]]:
    chosen = (config.path_column, *config.label_column, config.split_column, config.group_column)
    likely = {*USUAL_NAMES, *(name.strip().lower() for name in chosen if name)}
    try:
        with open_regular(table) as file:
            found = read_table(decoded(file), (), likely)
            return found.heading, list(found.rows)
    except OSError as error:
        raise InputError(f"{table}: can't be read ({error.strerror}); set data.path to the csv file") from None
    except TableError as error:
        raise InputError(f"{table}: {error}") from None


def _records(table: Path, rows: Sequence[Row], columns: Columns, root: Path, *, may_be_empty: bool) -> list[_Record]:
    """``may_be_empty``: whether an image may have no label."""
    paths = ImagePaths(root)
    records: list[_Record] = []
    for row in rows:
        path, split = (row.cell(at).strip() for at in (columns.path, columns.split))
        labels = tuple(row.cell(at).strip() for at in columns.labels)
        where = f"{table}, line {row.line}"
        if split and not split_named(split):
            raise InputError(f'{where}: split is "{split}"; write train, val or test')
        if not path or not (all(labels) or may_be_empty):
            raise InputError(f"{where}: path or label is empty")
        if "\0" in path:
            raise InputError(f"{where}: no path of a file holds a zero byte")
        try:
            file = paths.find(path)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        records.append(_Record(path, labels, split_named(split), row.cell(columns.group).strip(), file, row.line))
    if records and not paths.found:
        raise InputError(
            f"{table}: none of its images was found; {records[0].path} was looked for as {records[0].file}, with and "
            "without a suffix; set data.root to the folder that the paths are relative to"
        )
    return records


def _without_repeated(table: Path, records: list[_Record], findings: list[Finding], *, merge: bool) -> list[_Record]:
    """Each image once; ``merge``: with the labels of all its rows. Raises InputError where an image has two labels."""
    first: dict[Path, _Record] = {}
    kept: dict[tuple[Path, str], _Record] = {}
    conflicts: dict[str, None] = {}
    for one in records:
        before = first.setdefault(one.file, one)
        if before.labels != one.labels and not merge:
            conflicts[f"{one.path} ({', '.join((*before.labels, *one.labels))})"] = None
        key = one.file, one.split
        if merge and key in kept and len(one.labels) == 1:
            together = dict.fromkeys(filter(None, (*kept[key].labels, *one.labels)))
            kept[key] = kept[key]._replace(labels=(";".join(together),))
        kept.setdefault(key, one)
    if conflicts:
        listed = ", ".join(list(conflicts)[:_LISTED])
        raise InputError(
            f"{table}: {len(conflicts)} images have two labels: {listed}; keep one label per image, or set "
            'data.task = "multilabel"'
        )
    if repeated := len(records) - len(kept):
        what = "each image is used once, with all its labels" if merge else "each image is used once"
        findings.append(Finding("rows_repeated", f"{repeated:,} rows name an image again; {what}"))
    return list(kept.values())
