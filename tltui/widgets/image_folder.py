"""Scans a folder, archive or table of images as the engine reads it: classes and number of images per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.data_sources import source_of
from engine.config.schema import KFOLD, DataConfig
from engine.data.file_tree import Disk
from engine.data.folder_layout import find_layout
from engine.data.image_files import image_files, tables_below
from engine.errors import InputError
from engine.files.stored_file import StoredFile


class ScanCancelled(Exception):
    """Nobody waits for the scan any more."""


@dataclass(frozen=True)
class ImageFolder:
    """``counts``: images per class or label, 0 for numbers to predict.

    ``split_counts``: images per split, or {"": all} without splits.
    ``findings``: warnings about what was assumed or is left out.
    """

    path: Path
    counts: dict[str, int]
    split_counts: dict[str, int]
    findings: tuple[str, ...] = ()
    task: str = "single"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the folder, of train, val and test."""
        return tuple(filter(None, self.split_counts))

    @property
    def total(self) -> int:
        return sum(self.split_counts.values())


class _CancellableDisk(Disk):
    """The file system, of which nothing is read once ``cancelled`` returns True. Raises ScanCancelled."""

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled

    def subfolders(self, folder: Path) -> Iterator[str]:
        self.check()
        return super().subfolders(folder)

    def files(self, folder: Path) -> Iterator[str]:
        self.check()
        return super().files(folder)

    def walk(self, folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for below in super().walk(folder):
            self.check()
            yield below

    def file(self, path: Path) -> StoredFile:
        self.check()
        return super().file(path)

    def check(self) -> None:
        """Raise ScanCancelled once nobody waits."""
        if self._cancelled():
            raise ScanCancelled


def scan(
    path: Path, cancelled: Callable[[], bool] = lambda: False, settings: Mapping[str, Any] | None = None
) -> ImageFolder:
    """Count the images below ``path`` by file name. Raises InputError where it is no classification dataset.

    ``cancelled`` is polled, since a folder may hold millions; then it raises ScanCancelled. ``settings``: of [data],
    by which tables and archives are read.
    """
    if (source := source_of(path)) not in ("folder", ""):
        return _count_samples(path, source, settings)
    if not path.is_dir():
        raise InputError(f"{path}: folder not found")
    tree = _CancellableDisk(cancelled)
    try:
        layout = find_layout(path, tree=tree)
    except InputError:  # perhaps a table lies there
        tree.check()
        return _count_samples(path, "folder", settings)
    if tables_below(path, tree):  # perhaps it has the labels
        tree.check()
        return _count_samples(path, "folder", settings)
    counts: Counter[str] = Counter()
    split_counts: Counter[str] = Counter()
    for folder in layout.folders:
        images = sum(1 for _ in image_files(folder.path, tree=tree))
        split_counts[folder.split] += images
        counts[folder.label] += images
    if len(counts) < 2:
        raise InputError("One class only: a classifier needs two or more")
    findings = tuple(finding.message for finding in layout.findings)
    return ImageFolder(path, dict(sorted(counts.items())), dict(split_counts), findings)


def expected_splits(split_counts: Mapping[str, int], classes: int, data: DataConfig) -> dict[str, int]:
    """Estimate the sizes of the train and val splits, to an image or so.

    ``classes``: their number. For a limit per class they count as equal in size. Splits in a file are left out of
    account.
    """
    if data.split == "random":
        split_counts = {"": sum(split_counts.values())}
    if data.limit_per_class:
        split_counts = {name: min(count, data.limit_per_class * classes) for name, count in split_counts.items()}
    unsplit = split_counts.get("", 0)
    test = split_counts.get("test", round(unsplit * data.test_fraction))
    if data.split == KFOLD:
        val = round((sum(split_counts.values()) - test) / data.folds)
    else:
        val = split_counts.get("val") or round((unsplit + split_counts.get("train", 0)) * data.val_fraction)
    return {"train": max(sum(split_counts.values()) - val - test, 1), "val": max(val, 1)}


def _count_samples(path: Path, source: str, settings: Mapping[str, Any] | None) -> ImageFolder:
    """Count the images of an archive or a table, which the engine lists."""
    from engine.data.source import class_counts  # they import Pillow
    from engine.data.sources import open_learnable

    found = open_learnable(DataConfig.model_validate({**(settings or {}), "path": str(path), "source": source}))
    split_counts = Counter(one.split for one in found.samples)
    findings = tuple(finding.message for finding in found.findings)
    return ImageFolder(path, class_counts(found), dict(split_counts), findings, found.task)
