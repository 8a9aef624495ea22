"""Recognizes the kind of dataset at a path, by names alone. Imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice, product
from os.path import isdir, isfile  # false where a path is too long or can't be reached; Path's raise OSError
from pathlib import Path

TAR = ".tar"
PARQUET = ".parquet"
_ARCHIVES = (".zip", TAR, ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar")
_TABLES = (".csv", ".tsv")
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_FILES = 1_000_000  # that a pattern names
# Kinds are told on every key in the app, so that of a folder only a part is looked at.
_ENTRIES = 200
_FOLDERS = 30


def has_dataset_name(name: str) -> bool:
    """Whether a file is called like an archive or a table of images."""
    return name.lower().endswith((*_ARCHIVES, *_TABLES, PARQUET))


def exists(path: Path) -> bool:
    """Whether there is something at ``path``, or where it leads into an archive or stands for several files."""
    return os.path.exists(path) or is_archive(path) or any(isfile(file) for file in matching_files(path))


def archive_of(path: Path) -> Path | None:
    """The archive that ``path`` names or leads into, such as photos.zip of photos.zip/train; None for other paths."""
    for part in (path, *path.parents):
        if part.name.lower().endswith(_ARCHIVES) and isfile(part):
            return part
    return None


def is_archive(path: Path) -> bool:
    """Whether ``path`` names a file with an archive's suffix, or leads into one."""
    return archive_of(path) is not None


def is_table(path: Path) -> bool:
    """Whether ``path`` is called like a table of text, on disk."""
    return has_table_name(path) and not isdir(path) and not is_archive(path)


def has_table_name(path: Path) -> bool:
    """Whether ``path`` has the suffix of a table of text."""
    return path.name.lower().endswith(_TABLES)


def is_plain_folder(path: Path) -> bool:
    """Whether ``path`` is a folder that is no dataset of another kind."""
    return isdir(path) and not (is_saved_dataset(path) or is_parquet(path) or is_shards(path))


def is_parquet(path: Path) -> bool:
    """Whether ``path`` is a Parquet file, or a folder or pattern of them."""
    return _holds(path, PARQUET)


def is_shards(path: Path) -> bool:
    """Whether ``path`` is a folder or a pattern of tar archives."""
    return not isfile(path) and _holds(path, TAR)


def is_saved_dataset(path: Path) -> bool:
    """Whether ``path`` is a folder that ``save_to_disk`` of Hugging Face's datasets wrote."""
    return is_saved_split(path) or isfile(path / "dataset_dict.json")


def is_saved_split(path: Path) -> bool:
    """Whether ``path`` is the folder of a single split in such a dataset, or of a dataset without splits."""
    return isfile(path / "state.json") and isfile(path / "dataset_info.json")


def matching_files(pattern: Path) -> Iterator[Path]:
    """The files that a pattern of names stands for, such as train-{000..010}.tar or train-*.tar, sorted.

    Of a range, files that are missing are yielded, too.
    """
    name = pattern.name
    ranges = list(_RANGE.finditer(name))
    if ranges:
        literal = _RANGE.split(name)[::3]
        for numbers in islice(product(*(_numbers(found[1], found[2]) for found in ranges)), _MOST_FILES):
            yield pattern.with_name(
                "".join(text for pair in zip(literal, (*numbers, ""), strict=True) for text in pair)
            )
    elif any(mark in name for mark in "*?["):
        yield from sorted(path for path in pattern.parent.glob(name) if isfile(path))


def _numbers(first: str, last: str) -> list[str]:
    numbers = range(int(first), min(int(last), int(first) + _MOST_FILES) + 1)
    return [str(number).zfill(len(first)) for number in numbers]


def _holds(path: Path, suffix: str) -> bool:
    """Whether ``path`` has a suffix, is a pattern of such files, or a folder that holds such files and no images."""
    if isdir(path):
        found = False
        for name in _first_files(path):
            if name.endswith(_IMAGES):
                return False
            found = found or name.endswith(suffix)
        return found
    if not path.name.lower().endswith(suffix):
        return False
    return isfile(path) or any(isfile(file) for file in matching_files(path))


def _first_files(folder: Path) -> Iterator[str]:
    """The names in lower case of the first files in a folder and in those below it, the upper ones first."""
    waiting = [str(folder)]
    for _ in range(_FOLDERS):
        if not waiting:
            return
        try:
            with os.scandir(waiting.pop(0)) as entries:
                for entry in islice(entries, _ENTRIES):
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        yield entry.name.lower()
        except OSError:
            continue
