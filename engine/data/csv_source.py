"""A table of image paths and labels as a data source."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.config.schema import DataConfig
from engine.config.targets import LabelColumns, LabelError, Targets
from engine.config.tasks import AUTO
from engine.data.archives import tree_at
from engine.data.file_tree import DISK, FileTree
from engine.data.finding import DatasetFinding, counted
from engine.data.image_files import tables_below
from engine.data.image_paths import ImagePaths
from engine.data.label_guess import guess_task
from engine.data.source import Sample, Source, from_stored_files
from engine.data.split_names import split_named
from engine.data.table_columns import (
    USUAL_NAMES,
    Columns,
    MissingColumn,
    chosen_columns,
    find_columns,
    find_path_column,
)
from engine.data.targets import read_targets
from engine.errors import InputError
from engine.files.csv_tables import Row, TableError, decoded, read_table
from engine.files.escapes import printable
from engine.files.stored_file import LARGEST_FILE, ImageFile

_LISTED = 5
_SAMPLED_ROWS = 1000  # of a table that is searched for images that are there


class _Record(NamedTuple):
    """One row of the table: the path as written and the file that it names."""

    path: str
    labels: tuple[str, ...]
    split: str
    group: str
    file: Path
    line: int


def csv_source(config: DataConfig, tree: FileTree = DISK) -> Source:
    """A table with a path and labels per image, optionally with splits and groups. Raises InputError.

    Paths are relative to data.root, else to the table's folder, and may lack the suffix. data.root may lead into an
    archive.
    """
    table = Path(config.path)
    findings: list[DatasetFinding] = []
    heading, rows = _read(table, config, tree)
    try:
        columns = find_columns(heading, rows, config, findings)
    except MissingColumn as error:
        raise MissingColumn(f"{table}: {error}", error.setting) from None
    except InputError as error:
        raise InputError(f"{table}: {error}") from None
    root, images = _root_of(table, config, tree)
    names = [heading[at] for at in columns.labels]
    task = config.task if config.task != AUTO else _guessed(names, rows, columns)
    records = _records(table, rows, columns, root, images, task)
    if any(one.split for one in records) and not all(one.split for one in records):
        name = heading[columns.split or 0]
        raise InputError(f"{table}: the column {name} is filled in some rows only; fill it in all or in none")
    records = _without_repeated(table, records, findings, task, merge=config.task == "multilabel")
    task, targets, finding = _targets(table, names, records, config)
    samples = [
        Sample(printable(one.path), target.label, one.split, one.group, target.numbers, target.text)
        for one, target in zip(records, targets.targets, strict=True)
    ]
    classes = [printable(name) for name in targets.classes]
    return from_stored_files(classes, samples, lambda at: images.file(records[at].file), [*findings, *finding], task)


def _targets(
    table: Path, names: list[str], records: list[_Record], config: DataConfig
) -> tuple[str, Targets, list[DatasetFinding]]:
    try:
        return read_targets(LabelColumns(names, [list(one.labels) for one in records]), config)
    except LabelError as error:
        where = f"{table}, line {records[error.at].line}" if error.at >= 0 else str(table)
        raise InputError(f"{where}: {error}") from None


def find_table(root: Path, config: DataConfig, tree: FileTree) -> Path | None:
    """The only table of images in ``root`` or in the single folder there. Raises InputError where there are several.

    Where no table has labels, it is the one that names images there, so that its missing column can be told.
    """
    below = tables_below(root, tree)
    tables = [table for table in below if _has_columns(table, config, tree)]
    tables = tables or [table for table in below if _names_images(table, config, tree)]
    if len(tables) > 1:
        listed = ", ".join(printable(table.name) for table in tables[:_LISTED])
        raise InputError(f"{tables[0].parent}: holds the tables {listed}; set data.path to one of them")
    return tables[0] if tables else None


def csv_images(config: DataConfig, tree: FileTree = DISK) -> Iterator[ImageFile]:
    """The images that a table names, which needs no labels. Raises InputError."""
    table = Path(config.path)
    heading, rows = _read(table, config, tree)
    at = find_path_column(heading, config)
    if at is None:
        raise InputError(f"{table}: has no column of image paths; call it path")
    paths = ImagePaths(table.parent, tree)
    found = (paths.find(cell) for row in rows if (cell := row.cell(at).strip()))
    return (ImageFile(path, tree.file(path)) for path in found)


def _has_columns(table: Path, config: DataConfig, tree: FileTree) -> bool:
    try:
        heading, rows = _read(table, config, tree)
        find_columns(heading, rows, config, [])
    except InputError:
        return False
    return True


def _names_images(table: Path, config: DataConfig, tree: FileTree) -> bool:
    """Whether a table names images that are there, and has more columns than that."""
    try:
        heading, rows = _read(table, config, tree)
        at = find_path_column(heading, config)
        if at is None or len(heading) < 2:
            return False
        root, images = _root_of(table, config, tree)
        paths = ImagePaths(root, images)
        for row in rows[:_SAMPLED_ROWS]:
            paths.find(row.cell(at).strip())
    except InputError:
        return False
    return paths.found


def _root_of(table: Path, config: DataConfig, tree: FileTree) -> tuple[Path, FileTree]:
    """What a table's paths are relative to, and where that lies."""
    return (Path(config.root), tree_at(Path(config.root))) if config.root else (table.parent, tree)


def _guessed(names: list[str], rows: Sequence[Row], columns: Columns) -> str:
    """The task that the labels suggest; rows without labels leave it open."""
    cells = [[row.cell(at).strip() for at in columns.labels] for row in rows]
    return guess_task(names, [row for row in cells if all(row)]).task


def _read(table: Path, config: DataConfig, tree: FileTree) -> tuple[list[str], list[Row]]:
    likely = {*USUAL_NAMES, *(name.strip().lower() for name in chosen_columns(config))}
    try:
        content = tree.file(table).read(LARGEST_FILE).content
        found = read_table(decoded(io.BytesIO(content)), (), likely)
        return found.heading, list(found.rows)
    except OSError as error:
        raise InputError(f"{table}: can't be read ({error.strerror}); set data.path to the csv file") from None
    except TableError as error:
        raise InputError(f"{table}: {error}") from None


def _records(
    table: Path, rows: Sequence[Row], columns: Columns, root: Path, tree: FileTree, task: str
) -> list[_Record]:
    paths = ImagePaths(root, tree)
    records: list[_Record] = []
    for row in rows:
        path, split = (row.cell(at).strip() for at in (columns.path, columns.split))
        labels = tuple(row.cell(at).strip() for at in columns.labels)
        where = f"{table}, line {row.line}"
        if split and not split_named(split):
            raise InputError(f'{where}: split is "{split}"; write train, val or test')
        if not path:
            raise InputError(f"{where}: path is empty; fill it in, or remove the row")
        if not all(labels) and task != "multilabel":
            hint = ', or set data.task = "multilabel" if an image may have no label' if task == "single" else ""
            raise InputError(f"{where}: label is empty; fill it in{hint or ', or remove the row'}")
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


def _without_repeated(
    table: Path, records: list[_Record], findings: list[DatasetFinding], task: str, *, merge: bool
) -> list[_Record]:
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
        one, several = ("number", "numbers") if task == "regression" else ("label", "labels")
        have = counted(len(conflicts), "image has", "images have")
        hint = ', or set data.task = "multilabel"' if task in ("single", "multilabel") else ""
        raise InputError(f"{table}: {have} two {several}: {listed}; keep one {one} per image{hint}")
    if repeated := len(records) - len(kept):
        what = "each image is used once, with all its labels" if merge else "each image is used once"
        findings.append(DatasetFinding("rows_repeated", f"{repeated:,} rows name an image again; {what}"))
    return list(kept.values())
