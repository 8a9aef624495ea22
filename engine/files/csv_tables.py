"""Reads CSV files as people and spreadsheets write them: with comma, semicolon or tab, with a byte-order mark.

Imports no torch.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, TextIO

_DELIMITERS = (",", ";", "\t")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # byte-order marks, as of a spreadsheet's "Unicode text"


class TableError(ValueError):
    """What is wrong with a table and what to do, as the end of a sentence."""


class Row(NamedTuple):
    """A row's ``cells``, which may be fewer than the heading's, and the ``line`` of the file that it ends in."""

    line: int
    cells: list[str]

    def cell(self, at: int | None) -> str:
        """The cell in a column, "" where the row or the table does not have it."""
        return self.cells[at] if at is not None and at < len(self.cells) else ""


class Table(NamedTuple):
    """The names of the columns, without blanks around them, and the rows below. Reading rows raises TableError."""

    heading: list[str]
    rows: Iterator[Row]

    def column(self, name: str) -> int | None:
        """The place of the first column of that name."""
        return self.heading.index(name) if name in self.heading else None


def decoded(file: BinaryIO) -> TextIO:
    """The text of a file that can be sought in, without a byte-order mark: UTF-8, or UTF-16 where a mark says so."""
    mark = file.read(2)
    file.seek(0)
    return io.TextIOWrapper(file, encoding="utf-16" if mark in _UTF_16 else "utf-8-sig", newline="")


def read_table(lines: Iterable[str], needed: Sequence[str], likely: Collection[str] = ()) -> Table:
    """A table that has the columns ``needed``. Raises TableError, also where it is no text.

    ``likely``: column names in lower case that help to recognize the separator.
    """
    text = iter(lines)
    try:
        skipped, first = _first_line(text)
        reader = csv.reader(
            itertools.chain([first], text), delimiter=_delimiter(first, {*needed, *likely}), strict=True
        )
        heading = [name.strip() for name in next(reader, [])]
    except (UnicodeError, csv.Error) as error:
        raise TableError(_problem(error)) from None
    if any(name not in heading for name in needed):
        has = ", ".join(heading) if any(heading) else "none"
        raise TableError(f"needs the columns {_listed(needed)}, has {has}; name them in its first line")
    return Table(heading, _rows(reader, len(heading), skipped))


def _first_line(text: Iterator[str]) -> tuple[int, str]:
    """The number of blank lines, and the line after them."""
    skipped = 0
    for line in text:
        if line.strip():
            return skipped, line
        skipped += 1
    return skipped, ""


def _delimiter(heading: str, names: Collection[str]) -> str:
    """What separates the cells: with it, the heading has the most of the columns that are needed, or of any."""

    def found(delimiter: str) -> tuple[int, int]:
        cells = {name.strip().lower() for name in next(csv.reader([heading], delimiter=delimiter), [])}
        return len(cells.intersection(names)), len(cells)

    return max(_DELIMITERS, key=found)


def _rows(reader: Any, columns: int, skipped: int) -> Iterator[Row]:  # noqa: ANN401 (csv names no type)
    try:
        for cells in reader:
            line = reader.line_num + skipped
            if any(cells[columns:]):
                raise TableError(
                    f"line {line} has {len(cells)} cells, the heading {columns}; put cells that hold "
                    f'"{reader.dialect.delimiter}" into double quotes'
                )
            if any(cells):
                yield Row(line, cells)
    except (UnicodeError, csv.Error) as error:
        raise TableError(_problem(error, reader.line_num + skipped)) from None


def _problem(error: UnicodeError | csv.Error, line: int = 1) -> str:
    if isinstance(error, UnicodeError):
        return f"is no text in UTF-8 ({error}); save it as CSV in UTF-8"
    return f"line {line} is no line of a CSV file ({error}); double the quotes within quoted cells"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
