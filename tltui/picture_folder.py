"""What a folder of pictures holds, as the engine will read it: classes and the number of pictures of each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InputError

# As engine.data.sources has them, which needs Pillow and numpy.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class PictureFolder:
    """``counts``: pictures per class, by name; ``splits``: which of train, val and test the folder has of its own."""

    path: Path
    counts: dict[str, int]
    splits: tuple[str, ...]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def look_into(path: Path, cancelled: Callable[[], bool] = lambda: False) -> PictureFolder:
    """Count the pictures below ``path``; names alone are looked at. Raises InputError where it can't be trained on.

    ``cancelled`` is asked now and then, since a folder may hold millions.
    """
    if not path.is_dir():
        raise InputError(f"{path}: there is no such folder")
    split_roots = {SPLITS[name]: path / name for name in _subfolders(path) if name in SPLITS}
    roots = list(split_roots.values()) if "train" in split_roots else [path]
    counts: Counter[str] = Counter()
    for root in roots:
        for name in _subfolders(root):
            counts[name] += _count_below(root / name, cancelled)
    if not counts:
        raise InputError("no subfolders here: put the pictures of each class into a folder of its own")
    if not counts.total():
        raise InputError(f"{len(counts)} subfolders, none with pictures in it")
    if len(counts) < 2:
        raise InputError("one class only: a classifier needs two or more")
    return PictureFolder(path, dict(sorted(counts.items())), tuple(split_roots) if "train" in split_roots else ())


def subfolders(path: Path) -> list[str]:
    """The names of the folders in ``path`` that are not hidden; none where it can't be read."""
    try:
        return _subfolders(path)
    except InputError:
        return []


def _subfolders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None


def _count_below(path: Path, cancelled: Callable[[], bool]) -> int:
    count = 0
    for _, folders, files in os.walk(path):
        if cancelled():
            break
        folders[:] = [name for name in folders if not name.startswith(".")]
        count += sum(not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES for name in files)
    return count
