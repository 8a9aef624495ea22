"""Folders and files inside an archive. Imports neither torch nor Pillow: the app uses it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.data.finding import DatasetFinding
from engine.errors import InputError
from engine.files.escapes import printable
from engine.files.stored_file import FileContent, Stamp, StoredFile


@dataclass(slots=True)
class _Folder:
    folders: dict[str, _Folder] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Missing:
    """A member that the archive does not have."""

    path: Path

    def stamp(self) -> Stamp:
        raise FileNotFoundError(errno.ENOENT, "there is no such member in the archive", str(self.path))

    def read(self, most: int) -> FileContent:
        raise FileNotFoundError(errno.ENOENT, "there is no such member in the archive", str(self.path))

    def first_bytes(self, count: int) -> bytes:
        raise FileNotFoundError(errno.ENOENT, "there is no such member in the archive", str(self.path))


class ArchiveTree:
    """The members of an archive as a FileTree; ``findings`` are warnings about members that are left out.

    Member names are only looked up here; nothing is ever written under them. A name that leads out of the archive
    is left out. Of members with one name the last counts, as for programs that unpack the archive.
    """

    def __init__(self, root: Path, members: Iterable[tuple[str, StoredFile | None]]) -> None:
        """``members``: names with ``/`` between folders, and files; None for a folder."""
        self.root = root
        self.findings: list[DatasetFinding] = []
        self._top = _Folder()
        outside: list[str] = []
        repeated: list[str] = []
        for name, file in members:
            parts = [part for part in name.split("/") if part not in ("", ".")]
            if ".." in parts:
                outside.append(name)
            elif file is None:
                self._add_folder(parts)
            elif parts:
                folder = self._add_folder(parts[:-1])
                if parts[-1] in folder.files:
                    repeated.append(name)
                folder.files[parts[-1]] = file
        for names, what in (
            (outside, "lead out of the archive and are left out"),
            (repeated, "repeat: the last counts"),
        ):
            if names:
                message = f"{root}: {len(names):,} member names {what}, e.g. {printable(names[0])}"
                self.findings.append(DatasetFinding("archive_members", message))

    def subfolders(self, folder: Path) -> Iterator[str]:
        yield from self._folder(folder).folders

    def files(self, folder: Path) -> Iterator[str]:
        yield from self._folder(folder).files

    def walk(self, folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        waiting = [(str(folder), self._folder(folder))]
        while waiting:
            path, found = waiting.pop()
            names = list(found.folders)
            yield path, names, list(found.files)
            waiting += [(os.path.join(path, name), found.folders[name]) for name in reversed(names)]

    def file(self, path: Path) -> StoredFile:
        try:
            return self._folder(path.parent).files.get(path.name) or _Missing(path)
        except InputError:
            return _Missing(path)

    def is_folder(self, path: Path) -> bool:
        try:
            return bool(self._folder(path))
        except InputError:
            return False

    def _add_folder(self, parts: Iterable[str]) -> _Folder:
        folder = self._top
        for part in parts:
            folder = folder.folders.setdefault(part, _Folder())
        return folder

    def _folder(self, path: Path) -> _Folder:
        folder: _Folder | None = self._top
        inside = os.path.relpath(path, self.root)
        for part in Path(inside).parts:
            folder = folder.folders.get(part) if folder else None
        if folder is None:
            raise InputError(f"{path}: there is no such folder in the archive")
        return folder
