"""Writes predictions.csv."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import torch

from engine.files.csv_cells import PREDICTION_COLUMNS, class_columns, path_cell, text_cell


class PredictionsFile:
    """A context manager that writes predictions.csv row by row. The file appears only when it is complete.

    On a write error ``problem`` holds one sentence on it, and later rows are dropped.
    """

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}")
        self._columns = class_columns(classes)
        self._file: TextIO | None = None
        self.problem = ""

    def write(self, paths: Sequence[str], true: Sequence[str], predicted: Sequence[str], values: torch.Tensor) -> None:
        """Write one batch; ``values``: float (N, classes), a probability or number per class."""
        self._write_rows(
            [path_cell(path), text_cell(before), text_cell(after), *(f"{value:.6g}" for value in row)]
            for path, before, after, row in zip(paths, true, predicted, values.tolist(), strict=True)
        )

    def __enter__(self) -> PredictionsFile:
        try:
            self._file = self._temporary.open("w", newline="", encoding="utf-8")
        except OSError as error:
            self._fail(error)
        self._write_rows([[*PREDICTION_COLUMNS, *self._columns]])
        return self

    def __exit__(self, problem: type[BaseException] | None, *_rest: object) -> None:
        try:
            if self._file:
                self._file.close()
            if problem is None and not self.problem:
                os.replace(self._temporary, self._path)
        except OSError as error:
            self._fail(error)
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def _write_rows(self, rows: Iterable[Sequence[object]]) -> None:
        if self._file is None or self.problem:
            return
        try:
            csv.writer(self._file).writerows(rows)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.problem = (
            f"{self._path}: can't be written ({error.strerror}); the run continues without it; make room there"
        )
