"""Reads CSV files from people and spreadsheets: comma, semicolon or tab, with or without a byte-order mark.

Imports no torch.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, TextIO

_DELIMITERS = (",", ";", "\t")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # byte-order marks; spreadsheets write them for "Unicode text"


class TableError(ValueError):
    """A table that can't be read; the message says why and what to do, as the end of a sentence."""


class Row(NamedTuple):
    """The ``cells`` of a row, possibly fewer than the heading's, and the number of its last ``line`` in the file."""

    line: int
    cells: list[str]

    def cell(self, at: int | None) -> str:
        """The cell in a column; "" if the row or the table does not have it."""
        return self.cells[at] if at is not None and at < len(self.cells) else ""


class Table(NamedTuple):
    """The column names, stripped of blanks, and the rows. Reading rows raises TableError."""

    heading: list[str]
    rows: Iterator[Row]

    def column(self, name: str) -> int | None:
        """The index of the first column with this name; None if there is none."""
        return self.heading.index(name) if name in self.heading else None


def decoded(file: BinaryIO) -> TextIO:
    """The text of a seekable file without its byte-order mark: UTF-16 if the mark says so, else UTF-8."""
    mark = file.read(2)
    file.seek(0)
    return io.TextIOWrapper(file, encoding="utf-16" if mark in _UTF_16 else "utf-8-sig", newline="")


def read_table(lines: Iterable[str], needed: Sequence[str], likely: Collection[str] = ()) -> Table:
    """Read a table with the columns ``needed``. Raises TableError, also if it is not text.

    ``likely``: column names in lower case that help to find the delimiter.
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
    """The number of leading blank lines, and the first line after them."""
    skipped = 0
    for line in text:
        if line.strip():
            return skipped, line
        skipped += 1
    return skipped, ""


def _delimiter(heading: str, names: Collection[str]) -> str:
    """The delimiter that gives the heading the most columns of ``names``, then the most columns."""

    def found(delimiter: str) -> tuple[int, int]:
        cells = {name.strip().lower() for name in next(csv.reader([heading], delimiter=delimiter), [])}
        return len(cells.intersection(names)), len(cells)

    return max(_DELIMITERS, key=found)


def _rows(reader: Any, columns: int, skipped: int) -> Iterator[Row]:  # noqa: ANN401 (csv exports no type)
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
        return f"is not valid UTF-8 ({error}); save it as CSV in UTF-8"
    return f"line {line} is not valid CSV ({error}); double the quotes within quoted cells"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
