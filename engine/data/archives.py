"""Opens an archive by its content. Imports neither torch nor Pillow: the app uses it."""

from __future__ import annotations

import shlex
from pathlib import Path

from engine.config.data_paths import archive_of
from engine.data.archive_tree import ArchiveTree
from engine.data.file_tree import DISK, FileTree
from engine.data.tar_archive import open_tar
from engine.data.zip_archive import open_zip
from engine.errors import InputError
from engine.files.safe_open import open_regular

_ZIP = (b"PK\3\4", b"PK\5\6")
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip -k"),
    b"BZh": ("bzip2", "bunzip2 -k"),
    b"\xfd7zXZ": ("xz", "unxz -k"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
_OTHERS = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar"}


def tree_at(path: Path) -> FileTree:
    """The archive that ``path`` leads into, else the file system. Raises InputError."""
    archive = archive_of(path)
    return open_archive(archive) if archive else DISK


def open_archive(path: Path) -> ArchiveTree:
    """The members of a zip or tar archive, which is read in place. Raises InputError for other files."""
    try:
        with open_regular(path) as file:
            first = file.read(8)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); set data.path to the archive") from None
    if first.startswith(_ZIP):
        return open_zip(path)
    for signature, (name, command) in _COMPRESSED.items():
        if first.startswith(signature):
            raise InputError(
                f"{path}: is compressed by {name}, where reading one image unpacks all before it; "
                f"run `{command} {shlex.quote(str(path))}` and use the .tar"
            )
    for signature, name in _OTHERS.items():
        if first.startswith(signature):
            raise InputError(f"{path}: is a {name} archive; unpack it and use the folder, or pack it as .zip")
    return open_tar(path)
