"""Recognizes the kind of dataset at a path, by names alone. Imports no torch."""

from __future__ import annotations

from pathlib import Path

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar")
_TABLES = (".csv", ".tsv")


def has_dataset_name(name: str) -> bool:
    """Whether a file is called like an archive or a table of images."""
    return name.lower().endswith((*_ARCHIVES, *_TABLES))


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
