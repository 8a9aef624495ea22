"""What a folder of pictures holds, as the engine will read it: classes and the number of pictures of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.data.folders import picture_files, split_roots, subfolders
from engine.errors import InputError


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
    roots = split_roots(path)
    counts: Counter[str] = Counter()
    for root in roots.values():
        for name in subfolders(root):
            counts[name] += _count_below(root / name, cancelled)
    if not counts:
        raise InputError("no subfolders here: put the pictures of each class into a folder of its own")
    if not counts.total():
        raise InputError(f"{len(counts)} subfolders, none with pictures in it")
    if len(counts) < 2:
        raise InputError("one class only: a classifier needs two or more")
    return PictureFolder(path, dict(sorted(counts.items())), tuple(filter(None, roots)))


def _count_below(path: Path, cancelled: Callable[[], bool]) -> int:
    count = 0
    for _ in picture_files(path):
        count += 1
        if cancelled():
            break
    return count
