"""Finds the columns of a table of images: path, label, split and group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from engine.config.schema import DataConfig
from engine.data.finding import DatasetFinding
from engine.data.label_guess import is_distribution, is_flag, is_share
from engine.data.split_names import split_named
from engine.errors import InputError
from engine.files.csv_tables import Row, TableError
from engine.files.escapes import printable

PATHS = tuple("path filepath file_path filename file_name file image image_path image_name img image_id id".split())
LABELS = tuple("label class class_name target category labels tags".split())
"""Usual names of the column of labels, the most usual first."""
_SPLITS = ("split", "fold")
_GROUPS = frozenset("patient subject participant person group animal lesion slide specimen session video scene".split())
USUAL_NAMES = frozenset({*PATHS, *LABELS, *_SPLITS})


class MissingColumn(InputError):
    """A column that ``setting`` names is not in the table."""

    def __init__(self, sentence: str, setting: str) -> None:
        super().__init__(sentence)
        self.setting = setting


class Columns(NamedTuple):
    """The positions of a table's columns; None where the table has no such column."""

    path: int | None
    labels: tuple[int, ...]
    split: int | None
    group: int | None


def find_columns(
    heading: Sequence[str], rows: Sequence[Row], config: DataConfig, findings: list[DatasetFinding]
) -> Columns:
    """The columns that ``config`` names, else those with usual names. Raises InputError."""
    path = find_path_column(heading, config)
    columns = _find_columns(heading, rows, config, findings, path, LABELS)
    if path is None or not columns.labels:
        raise InputError(_missing(heading, columns))
    return columns


def find_value_columns(
    heading: Sequence[str],
    rows: Sequence[Row],
    config: DataConfig,
    findings: list[DatasetFinding],
    labels: Sequence[str],
) -> Columns:
    """The columns of a table whose rows hold the images, not their paths. Raises InputError.

    ``labels``: names of label columns, the most usual first.
    """
    columns = _find_columns(heading, rows, config, findings, None, [_normalized(name) for name in labels])
    if not columns.labels:
        raise InputError(
            f"has no column that is called like labels, but {_named(heading)}; set data.label_column to one of them"
        )
    return columns


def _find_columns(
    heading: Sequence[str],
    rows: Sequence[Row],
    config: DataConfig,
    findings: list[DatasetFinding],
    path: int | None,
    usual: Sequence[str],
) -> Columns:
    labels = _label_columns(heading, rows, config, path, usual)
    split = _split_column(heading, rows, config, findings)
    group = _column(heading, config.group_column, "data.group_column", ())
    if group is None:
        findings += _suggested_group(heading, rows, {path, *labels})
    return Columns(path, labels, split, group)


def chosen_columns(config: DataConfig) -> list[str]:
    """The columns that the settings name."""
    return [
        name for name in (config.path_column, *config.label_column, config.split_column, config.group_column) if name
    ]


def is_likely(name: str, config: DataConfig) -> bool:
    """Whether a column is chosen, or called like labels, splits or groups."""
    normalized = _normalized(name)
    return name in chosen_columns(config) or normalized in (*LABELS, *_SPLITS) or _is_like_group(normalized)


def _label_columns(
    heading: Sequence[str], rows: Sequence[Row], config: DataConfig, path: int | None, usual: Sequence[str]
) -> tuple[int, ...]:
    """The columns of ``data.label_column``, else a usual one, else those with a number per label; empty: none."""
    chosen = [_column(heading, name, "data.label_column", ()) for name in config.label_column]
    likely = chosen or [_column(heading, "", "", usual)]
    found = tuple(at for at in likely if at is not None)
    return found or _number_columns(heading, rows, path)


def find_split_columns(heading: Sequence[str]) -> tuple[int, int]:
    """The columns of path and split in a table of splits. Raises TableError."""
    path, split = _column(heading, "", "", PATHS), _column(heading, "", "", _SPLITS)
    if path is None or split is None:
        raise TableError(f"needs the columns path and split, has {_named(heading)}; name them in its first line")
    return path, split


def find_path_column(heading: Sequence[str], config: DataConfig) -> int | None:
    """The column of image paths; None where there is none. Raises InputError where ``config`` names a missing one."""
    return _column(heading, config.path_column, "data.path_column", PATHS)


def _column(heading: Sequence[str], chosen: str, setting: str, usual: Iterable[str]) -> int | None:
    if chosen:
        if chosen.strip() not in heading:
            raise MissingColumn(f'has no column "{chosen}", but {", ".join(heading)}; change {setting}', setting)
        return heading.index(chosen.strip())
    names = [_normalized(name) for name in heading]
    return next((names.index(name) for name in usual if name in names), None)


def _split_column(
    heading: Sequence[str], rows: Sequence[Row], config: DataConfig, findings: list[DatasetFinding]
) -> int | None:
    """The column of splits; one that is merely called fold and holds other words is left out, with a finding."""
    at = _column(heading, config.split_column, "data.split_column", _SPLITS)
    if at is None or config.split_column or _normalized(heading[at]) == "split":
        return at
    odd = next((cell for row in rows if (cell := row.cell(at).strip()) and not split_named(cell)), None)
    if odd is None:
        return at
    message = f'the column {printable(heading[at])} holds "{printable(odd)}", which is no split; it is not used'
    findings.append(DatasetFinding("column_not_used", message))
    return None


def _suggested_group(heading: Sequence[str], rows: Sequence[Row], used: set[int | None]) -> list[DatasetFinding]:
    """A finding for a column that looks like groups: called like one, with values that repeat."""
    for at, name in enumerate(heading):
        if at in used or not _is_like_group(_normalized(name)):
            continue
        values = {row.cell(at).strip() for row in rows}
        if 1 < len(values) < len(rows):
            shown = printable(name)
            message = (
                f"the column {shown} has {len(values):,} values for {len(rows):,} images, so images of one {shown} may "
                f'be in two splits; data.group_column = "{shown}" keeps them together'
            )
            return [DatasetFinding("group_suggested", message)]
    return []


def _number_columns(heading: Sequence[str], rows: Sequence[Row], path: int | None) -> tuple[int, ...]:
    """Two or more columns that hold 0 and 1, or else the probabilities of an image's classes."""
    usable = [at for at in range(len(heading)) if at != path and rows]
    flags = tuple(at for at in usable if all(is_flag(row.cell(at)) for row in rows))
    if len(flags) > 1:
        return flags
    shares = tuple(at for at in usable if all(is_share(row.cell(at)) for row in rows))
    sums = all(is_distribution([float(row.cell(at)) for at in shares]) for row in rows) if shares else False
    return shares if len(shares) > 1 and sums else ()


def _missing(heading: Sequence[str], columns: Columns) -> str:
    """The sentence for a table without a path, without labels, or without both."""
    if columns.path is None and not columns.labels:
        return (
            f"needs the columns path and label, has {_named(heading)}; name them in its first line, or set "
            "data.path_column and data.label_column"
        )
    missing = "path" if columns.path is None else "label"
    known = {columns.path, columns.split, columns.group, *columns.labels}
    others = [name for at, name in enumerate(heading) if at not in known and not _has_other_use(_normalized(name))]
    example = f' = "{printable(others[0])}"' if len(others) == 1 and others[0] else ""
    return (
        f"needs the column {missing}, has {_named(heading)}; name it in its first line, or set "
        f"data.{missing}_column{example}"
    )


def _has_other_use(normalized: str) -> bool:
    """Whether a column is called like a second path, splits or groups."""
    return normalized in (*PATHS, *_SPLITS) or _is_like_group(normalized)


def _is_like_group(normalized: str) -> bool:
    return not _GROUPS.isdisjoint(re.split(r"_+", normalized))


def _named(heading: Sequence[str]) -> str:
    return printable(", ".join(heading)) if any(heading) else "none"


def _normalized(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())
