"""Which pictures were taken for what: read from a run's predictions.csv."""

from __future__ import annotations

import csv
from pathlib import Path

MOST = 1000


def pictures_of(table: Path, true: str, predicted: str) -> list[str]:
    """The pictures of class ``true`` that were taken for ``predicted``, the first thousand; none without a table."""
    found: list[str] = []
    try:
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if (row.get("true"), row.get("predicted")) == (true, predicted):
                    found.append(row["path"])
                    if len(found) == MOST:
                        break
    except FileNotFoundError:
        pass
    return found
