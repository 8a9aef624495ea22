"""Finds images and class folders on disk. Imports neither torch nor Pillow: the app uses it, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from engine.errors import InputError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def split_roots(root: Path) -> dict[str, Path]:
    """Where the class folders lie: for each split that ``root`` has of its own, or {"": root}.

    The folders of splits may be written in capitals. Raises InputError, also where only train/ is missing.
    """
    names = subfolders(root)
    splits: dict[str, Path] = {}
    for name in names:
        if split := SPLIT_FOLDERS.get(name.lower()):
            if split in splits:
                raise InputError(f"{root}: {splits[split].name}/ and {name}/ both mean {split}; leave one of them")
            splits[split] = root / name
    if "train" in splits:
        return splits
    if splits and len(splits) == len(names):
        raise InputError(f"{root}: has {', '.join(f'{name}/' for name in names)} and no train/; add it")
    return {"": root}


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in ``folder`` that are not hidden, sorted.

    Links that lead nowhere, or up to a folder that holds them, are none. Raises InputError.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_below(entry))
    except NotADirectoryError:
        raise InputError(f"{folder}: is a file, not a folder") from None
    except OSError as error:
        raise InputError(f"{folder}: can't be read ({error.strerror})") from None


def image_files(folder: Path) -> Iterator[Path]:
    """Files named like images, in a stable order; hidden ones and links to folders are passed over."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(parent, name)


def _is_below(entry: os.DirEntry[str]) -> bool:
    try:
        if not entry.is_dir():
            return False
        if not entry.is_symlink():
            return True
        holder = os.path.realpath(os.path.dirname(entry.path))
        target = os.path.realpath(entry.path)
        return os.path.commonpath([holder, target]) != target
    except OSError:  # links in a circle
        return False
