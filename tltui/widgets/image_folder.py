"""Scans a folder of images as the engine reads it: classes and number of images per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.config.schema import DataConfig
from engine.data.folder_layout import image_files, split_roots, subfolders
from engine.errors import InputError


@dataclass(frozen=True)
class ImageFolder:
    """``counts``: images per class; ``split_counts``: images per split, or {"": all} without splits."""

    path: Path
    counts: dict[str, int]
    split_counts: dict[str, int]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the folder, of train, val and test."""
        return tuple(filter(None, self.split_counts))

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def scan(path: Path, cancelled: Callable[[], bool] = lambda: False) -> ImageFolder:
    """Count the images below ``path`` by file name. Raises InputError where it is no classification dataset.

    ``cancelled`` is polled, since a folder may hold millions.
    """
    if not path.is_dir():
        raise InputError(f"{path}: folder not found")
    roots = split_roots(path)
    counts: Counter[str] = Counter()
    split_counts: dict[str, int] = {}
    for split, root in roots.items():
        found = {name: _count_below(root / name, cancelled) for name in subfolders(root)}
        split_counts[split] = sum(found.values())
        counts.update(found)
    if not counts:
        raise InputError("No subfolders here: put the images of each class into its own folder")
    if not counts.total():
        raise InputError(f"{len(counts)} subfolders, none with images: choose another folder")
    if len(counts) < 2:
        raise InputError("One class only: a classifier needs two or more")
    return ImageFolder(path, dict(sorted(counts.items())), split_counts)


def expected_splits(split_counts: Mapping[str, int], data: DataConfig) -> dict[str, int]:
    """Estimate the sizes of the train and val splits, to an image or so."""
    unsplit = split_counts.get("", 0)
    test = split_counts.get("test", round(unsplit * data.test_fraction))
    val = split_counts.get("val") or round((unsplit + split_counts.get("train", 0)) * data.val_fraction)
    return {"train": max(sum(split_counts.values()) - val - test, 1), "val": max(val, 1)}


def _count_below(path: Path, cancelled: Callable[[], bool]) -> int:
    count = 0
    for _ in image_files(path):
        count += 1
        if cancelled():
            break
    return count
