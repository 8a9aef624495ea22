"""How pictures lie in folders, and what counts as one. Imports neither torch nor Pillow: the app looks, too."""

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
    """Where the class folders lie: for each split that ``root`` has of its own, or {"": root}. Raises InputError."""
    splits = {SPLIT_FOLDERS[name]: root / name for name in subfolders(root) if name in SPLIT_FOLDERS}
    return splits if "train" in splits else {"": root}


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in ``folder`` that are not hidden, sorted. Raises InputError."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: can't be read ({error.strerror})") from None


def picture_files(folder: Path) -> Iterator[Path]:
    """Files named like pictures, in a stable order; hidden ones and links to folders are passed over."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(parent, name)
