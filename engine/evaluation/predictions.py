"""predictions.csv."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from engine.csv_cells import path_cell, text_cell


class PredictionsFile:
    """Writes predictions.csv row by row; use it with ``with``: it gets its name when it is complete, or is gone."""

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}")
        self._file = self._temporary.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._classes = [text_cell(name) for name in classes]
        self._writer.writerow(["path", "true", "predicted", *self._classes])

    def write(self, paths: Sequence[str], labels: torch.Tensor, probabilities: torch.Tensor) -> None:
        """One batch: ``labels`` (N,), ``probabilities`` (N, classes)."""
        rows = zip(paths, labels.tolist(), probabilities.argmax(1).tolist(), probabilities.tolist(), strict=True)
        for path, true, predicted, row in rows:
            shown = [f"{value:.6g}" for value in row]
            self._writer.writerow([path_cell(path), self._classes[true], self._classes[predicted], *shown])

    def __enter__(self) -> PredictionsFile:
        return self

    def __exit__(self, problem: type[BaseException] | None, *_rest: object) -> None:
        self._file.close()
        if problem is None:
            os.replace(self._temporary, self._path)
        else:
            self._temporary.unlink()
