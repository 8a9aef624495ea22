"""Running a network over pictures, batch by batch."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from engine.data.loaders import Batch
from engine.models.architecture import Preprocessing
from engine.models.zoo import Classifier
from engine.progress import Report
from engine.training.precision import Precision


class Normalize:
    """Moves uint8 pictures (N, 3, S, S) to the device, as floats in the range that the network expects."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self._device = device
        self._mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1) * 255

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) uint8 → float32, channels last."""
        moved = pictures.to(self._device, non_blocking=True).to(torch.float32, memory_format=torch.channels_last)
        return (moved - self._mean) / self._std


def predict(
    classifier: Classifier, loader: DataLoader[Batch], precision: Precision, report: Report, activity: str
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits (N, classes) in fp32 and labels (N,) of each batch, on the device, in evaluation mode."""
    classifier.module.eval()
    normalize = Normalize(classifier.preprocessing, precision.device)
    for number, (pictures, labels) in enumerate(loader, 1):
        with torch.no_grad(), precision.autocast():
            logits = classifier.module(normalize(pictures))
        report(activity, number, len(loader), "batches")
        yield logits.float(), labels.to(precision.device)


class PredictionsFile:
    """Writes predictions.csv row by row; use it with ``with``: it gets its name when it is complete, or is gone."""

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}")
        self._file = self._temporary.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._classes = classes
        self._writer.writerow(["path", "true", "predicted", *classes])

    def write(self, paths: Sequence[str], labels: torch.Tensor, probabilities: torch.Tensor) -> None:
        """One batch: ``labels`` (N,), ``probabilities`` (N, classes)."""
        rows = zip(paths, labels.tolist(), probabilities.argmax(1).tolist(), probabilities.tolist(), strict=True)
        for path, true, predicted, row in rows:
            shown = [f"{value:.6g}" for value in row]
            self._writer.writerow([path, self._classes[true], self._classes[predicted], *shown])

    def __enter__(self) -> PredictionsFile:
        return self

    def __exit__(self, problem: type[BaseException] | None, *_rest: object) -> None:
        self._file.close()
        if problem is None:
            os.replace(self._temporary, self._path)
        else:
            self._temporary.unlink()
