"""Folders and files of a dataset, on disk or in an archive. Imports neither torch nor Pillow: the app uses it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from engine.errors import InputError
from engine.files.stored_file import DiskFile, StoredFile


class FileTree(Protocol):
    """What a layout of class folders is found in. In an archive, a path begins with the path of the archive."""

    def subfolders(self, folder: Path) -> Iterator[str]:
        """The names of the folders in ``folder``, in no order. Raises InputError."""
        ...

    def files(self, folder: Path) -> Iterator[str]:
        """The names of the files in ``folder``, in no order. Raises InputError."""
        ...

    def walk(self, folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        """``folder`` and all below it as os.walk yields them: path, names of folders, names of files."""
        ...

    def is_folder(self, path: Path) -> bool:
        """Whether there is a folder at ``path``."""
        ...

    def file(self, path: Path) -> StoredFile:
        """The file at ``path``. Where there is none, reading it raises OSError."""
        ...


class Disk:
    """The file system as a tree."""

    def subfolders(self, folder: Path) -> Iterator[str]:
        """Leaves out links that lead nowhere, or up to a folder that holds them."""
        try:
            with os.scandir(folder) as entries:
                yield from (entry.name for entry in entries if _is_below(entry))
        except NotADirectoryError:
            raise InputError(f"{folder}: is a file, not a folder") from None
        except OSError as error:
            raise InputError(f"{folder}: can't be read ({error.strerror})") from None

    def files(self, folder: Path) -> Iterator[str]:
        try:
            with os.scandir(folder) as entries:
                yield from (entry.name for entry in entries if _is_file(entry))
        except OSError as error:
            raise InputError(f"{folder}: can't be read ({error.strerror})") from None

    def walk(self, folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        return os.walk(folder)

    def is_folder(self, path: Path) -> bool:
        return os.path.isdir(path)

    def file(self, path: Path) -> StoredFile:
        return DiskFile(path)


DISK = Disk()


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


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
