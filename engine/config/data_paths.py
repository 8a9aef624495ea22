"""Recognizes the kind of dataset at a path, by names alone. Imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar")
_TABLES = (".csv", ".tsv")
_BRACES = re.compile(r"\{[^{}]*(?:\.\.|,)[^{}]*\}")
_LISTED = 1000  # names in a folder that are looked at
_SPLIT_FOLDERS = 5  # more are class folders


def has_dataset_name(name: str) -> bool:
    """Whether a file is called like an archive or a table of images."""
    return name.lower().endswith((*_ARCHIVES, *_TABLES, ".parquet"))


def archive_of(path: Path) -> Path | None:
    """The archive that ``path`` names or leads into, such as photos.zip of photos.zip/train; None for other paths."""
    for part in (path, *path.parents):
        if part.name.lower().endswith(_ARCHIVES) and part.is_file():
            return part
    return None


def is_archive(path: Path) -> bool:
    """Whether ``path`` names a file with an archive's suffix, or leads into one."""
    return archive_of(path) is not None


def is_table(path: Path) -> bool:
    """Whether ``path`` is called like a table of text, on disk."""
    return has_table_name(path) and not path.is_dir() and not is_archive(path)


def has_table_name(path: Path) -> bool:
    """Whether ``path`` has the suffix of a table of text."""
    return path.name.lower().endswith(_TABLES)


def is_parquet(path: Path) -> bool:
    """Whether ``path`` is a Parquet file, or a folder of those and of no images."""
    return _is_one_or_holds(path, ".parquet")


def is_saved_dataset(path: Path) -> bool:
    """Whether ``path`` is a folder that Hugging Face's ``save_to_disk`` wrote."""
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def is_shards(path: Path) -> bool:
    """Whether ``path`` names several tar files by braces, or is a folder of those."""
    if _BRACES.search(path.name) and not path.exists():
        return path.name.lower().endswith(".tar")
    return path.is_dir() and _is_one_or_holds(path, ".tar")


def is_class_folder(path: Path) -> bool:
    """Whether ``path`` is a folder of another kind than the ones above."""
    return path.is_dir() and not (is_saved_dataset(path) or is_parquet(path) or is_shards(path))


def expand_braces(text: str) -> Iterator[str]:
    """The names that a pattern such as ``shards-{000..010}.tar`` or ``{train,val}.tar`` stands for."""
    found = _BRACES.search(text)
    if not found:
        yield text
        return
    before, after = text[: found.start()], text[found.end() :]
    for choice in _choices(found[0][1:-1]):
        yield from expand_braces(f"{before}{choice}{after}")


def files_in(folder: Path, suffix: str) -> list[Path]:
    """The files with ``suffix`` in ``folder``, and in its subfolders where it has none itself; sorted."""
    own, folders = _contents(folder, suffix)
    return own or [path for name in folders for path in _contents(folder / name, suffix)[0]]


def _choices(inside: str) -> Iterable[str]:
    first, dots, last = inside.partition("..")
    if dots and first.isdecimal() and last.isdecimal():
        return (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))
    return inside.split(",")


def _is_one_or_holds(path: Path, suffix: str) -> bool:
    """Whether ``path`` has the suffix, or is a folder of such files, perhaps one for each split."""
    if path.name.lower().endswith(suffix):
        return not path.is_dir()
    own, folders = _contents(path, suffix, _LISTED)
    if own:
        return not folders
    return 0 < len(folders) <= _SPLIT_FOLDERS and all(_contents(path / name, suffix, _LISTED)[0] for name in folders)


def _contents(folder: Path, suffix: str, most: int | None = None) -> tuple[list[Path], list[str]]:
    """Of the first ``most`` entries the files with ``suffix`` and the names of subfolders, both sorted."""
    try:
        with os.scandir(folder) as entries:
            seen = [(entry.name, entry.is_dir()) for entry in islice(entries, most) if not entry.name.startswith(".")]
    except OSError:
        return [], []
    files = sorted(folder / name for name, is_folder in seen if not is_folder and name.lower().endswith(suffix))
    return files, sorted(name for name, is_folder in seen if is_folder)
