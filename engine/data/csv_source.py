"""A table of image paths and labels as a data source."""

from __future__ import annotations

from pathlib import Path

from engine.config.schema import DataConfig
from engine.data.folder_layout import SPLIT_FOLDERS
from engine.data.source import Sample, Source, from_files
from engine.errors import InputError
from engine.files.csv_tables import TableError, decoded, read_table
from engine.files.escapes import printable
from engine.files.safe_open import open_regular


def csv_source(config: DataConfig) -> Source:
    """A table with the columns path, label and optionally split; paths are relative to the table's folder."""
    table = Path(config.path)
    rows: list[tuple[str, str, str]] = []
    try:
        with open_regular(table) as file:
            found = read_table(decoded(file), ("path", "label"))
            columns = [found.column(name) for name in ("path", "label", "split")]
            for row in found.rows:
                path, label, split = map(row.cell, columns)
                if split and split not in SPLIT_FOLDERS:
                    raise InputError(f'{table}, line {row.line}: split is "{split}"; write train, val or test')
                if not path or not label:
                    raise InputError(f"{table}, line {row.line}: path or label is empty")
                if "\0" in path:
                    raise InputError(f"{table}, line {row.line}: no path of a file holds a zero byte")
                rows.append((path, label, SPLIT_FOLDERS.get(split, "")))
    except OSError as error:
        raise InputError(f"{table}: can't be read ({error.strerror}); set data.path to the csv file") from None
    except TableError as error:
        raise InputError(f"{table}: {error}") from None
    if any(split for *_, split in rows) and not all(split for *_, split in rows):
        raise InputError(f"{table}: the column split is filled in some rows only; fill it in all or in none")
    classes = sorted({label for _, label, _ in rows})
    number = {label: index for index, label in enumerate(classes)}
    samples = [Sample(printable(path), number[label], split) for path, label, split in rows]
    return from_files([printable(label) for label in classes], samples, lambda index: table.parent / rows[index][0])
