"""Lists the members of an uncompressed tar archive. Imports neither torch nor Pillow: the app uses it."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path

from engine.data.archive_tree import ArchiveTree
from engine.errors import InputError, first_line
from engine.files.archive_file import ArchiveFile, PlainMember
from engine.files.stored_file import StoredFile


def open_tar(path: Path) -> ArchiveTree:
    """The members of a tar archive; reads every header once, as there is no directory. Raises InputError."""
    try:
        return ArchiveTree(path, tar_members(path))
    except (tarfile.TarError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: can't be read as a tar archive ({first_line(error)}); copy or pack it again"
        ) from None


def tar_members(path: Path) -> Iterator[tuple[str, StoredFile | None]]:
    """Names and members in the order of the archive; None for a folder. Raises TarError, OSError and ValueError.

    A link to an earlier member of the archive is that member. Other links, devices and sparse files are left out.
    """
    archive = ArchiveFile(path)
    files: dict[str, PlainMember] = {}
    with tarfile.open(fileobj=archive.stream, mode="r:") as tar:
        while entry := tar.next():
            tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] (else it keeps a kilobyte for each)
            if entry.isdir():
                yield f"{entry.name}/", None
                continue
            if entry.isreg() and not entry.issparse():
                member = PlainMember(archive, entry.offset_data, entry.size)
            elif target := files.get(_target(entry)):
                member = target
            else:
                continue
            files[posixpath.normpath(entry.name)] = member
            yield entry.name, member


def _target(entry: tarfile.TarInfo) -> str:
    """The name that a link leads to; "" for what is no link."""
    if entry.islnk():
        return posixpath.normpath(entry.linkname)
    if entry.issym():
        return posixpath.normpath(posixpath.join(posixpath.dirname(entry.name), entry.linkname))
    return ""
