"""Which pictures were taken for what: read from a run's predictions.csv."""

from __future__ import annotations

import csv
import io
from contextlib import suppress
from pathlib import Path

from engine.csv_cells import text_cell
from engine.regular_files import open_regular

MOST = 1000


def pictures_of(table: Path, true: str, predicted: str) -> list[str]:
    """The pictures of class ``true`` that were taken for ``predicted``, the first thousand; none without a table."""
    found: list[str] = []
    wanted = (text_cell(true), text_cell(predicted))
    # Whatever lies there: a run's folder may have come from a stranger.
    with suppress(OSError, UnicodeDecodeError, csv.Error), open_regular(table) as file:
        for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")):
            if (row.get("true"), row.get("predicted")) == wanted:
                found.append(row.get("path") or "")
                if len(found) == MOST:
                    break
    return found
