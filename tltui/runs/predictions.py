"""Which pictures were taken for what: read from a run's predictions.csv and splits.csv."""

from __future__ import annotations

import csv
import heapq
import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from engine.files.csv_cells import text_cell
from engine.files.safe_open import open_regular

MOST = 1000


class Pictured(NamedTuple):
    """One picture: its name, its class, and what it was taken for with which probability ("" and 0: not known)."""

    path: str
    true: str
    predicted: str
    probability: float


def pictures_of(table: Path, true: str, predicted: str) -> list[Pictured]:
    """The pictures of class ``true`` that were taken for ``predicted``, the surest first; none without a table."""
    wanted = (text_cell(true), text_cell(predicted))
    found = (
        Pictured(row.get("path") or "", true, predicted, _number(row.get(wanted[1])))
        for row in _rows(table)
        if (row.get("true"), row.get("predicted")) == wanted
    )
    return heapq.nlargest(MOST, found, key=lambda one: one.probability)


def mistakes(table: Path, classes: list[str]) -> list[Pictured]:
    """The pictures that were taken for another class, the surest first; none without a table."""
    names = {text_cell(name): name for name in classes}
    found = (
        Pictured(row.get("path") or "", true, predicted, _number(row.get(text_cell(predicted))))
        for row in _rows(table)
        if (true := names.get(row.get("true") or ""))
        and (predicted := names.get(row.get("predicted") or ""))
        and true != predicted
    )
    return heapq.nlargest(MOST, found, key=lambda one: one.probability)


def pictures_in(splits: Path, label: str) -> list[Pictured]:
    """The first pictures of a class, whatever they are for; ``splits``: the run's splits.csv."""
    wanted = text_cell(label)
    found = (Pictured(row.get("path") or "", label, "", 0.0) for row in _rows(splits) if row.get("label") == wanted)
    return [one for one, _ in zip(found, range(MOST), strict=False)]


def _rows(table: Path) -> Iterator[dict[str, str | None]]:
    # Whatever lies there: a run's folder may have come from a stranger.
    with suppress(OSError, UnicodeDecodeError, csv.Error), open_regular(table) as file:
        yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
