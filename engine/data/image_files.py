"""Finds image files below a folder or in an archive, by suffix or content.

Imports neither torch nor Pillow: the app uses it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from engine.config.data_paths import has_table_name
from engine.data.file_tree import DISK, FileTree
from engine.files.escapes import printable
from engine.files.stored_file import StoredFile

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .dib .gif .webp .tif .tiff .ppm .pgm .pbm .pnm .ico .jp2 .j2k .jpx .avif "
    ".heic .heif".split()
)
_TEXT_SUFFIXES = frozenset(".txt .xml .json .jsonl .csv .tsv .md .html .yaml .yml .toml .py .ipynb .log .mat".split())
# The first bytes of every format that engine.data.image decodes.
_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|BM.{4}\x00{4}|RIFF.{4}WEBP|II\*\x00|MM\x00\*|II\+\x00|MM\x00\+"
    rb"|P[1-6][ \t\r\n]+(?:#|\d)|\x00\x00\x01\x00[^\x00]\x00|\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"
    rb"|.{4}ftyp(?:avi[fs]|hei[cx])",
    re.DOTALL,
)
_SIGNATURE_BYTES = 32
_ARCHIVE_LEFTOVERS = frozenset({"__MACOSX"})  # macOS adds it to zip archives
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})


def image_files(folder: Path, passed_over: Counter[str] | None = None, tree: FileTree = DISK) -> Iterator[Path]:
    """Image files at any depth, in a stable order. Skips hidden files and links to folders.

    A usual suffix is enough; another file counts where its content begins like an image's.
    ``passed_over`` counts the others by suffix.
    """
    for parent, folders, files in tree.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in sorted(files):
            if _is_hidden(name):
                continue
            path = Path(parent, name)
            if is_image(path, tree):
                yield path
            elif passed_over is not None and name.lower() not in _SYSTEM_FILES:
                passed_over[printable(os.path.splitext(name)[1].lower())] += 1


def is_image(path: Path, tree: FileTree = DISK) -> bool:
    """Whether the file at ``path`` is called like an image, or its content begins like one."""
    suffix = os.path.splitext(path.name)[1].lower()
    return suffix in SUFFIXES or (suffix not in _TEXT_SUFFIXES and _has_signature(tree.file(path)))


def holds_images(folder: Path, tree: FileTree = DISK) -> bool:
    """Whether there is an image at any depth of ``folder``."""
    return next(image_files(folder, None, tree), None) is not None


def own_images(folder: Path, tree: FileTree = DISK) -> Iterator[str]:
    """The names of the images that lie in ``folder`` itself, in no order. Raises InputError."""
    return (name for name in tree.files(folder) if not _is_hidden(name) and is_image(folder / name, tree))


def subfolders(folder: Path, tree: FileTree = DISK) -> list[str]:
    """The names of the folders in ``folder`` that are not hidden, sorted.

    Leaves out links that lead nowhere, or up to a folder that holds them. Raises InputError.
    """
    return sorted(name for name in tree.subfolders(folder) if not _is_hidden(name))


def tables_below(root: Path, tree: FileTree = DISK) -> list[Path]:
    """The tables in ``root``, else those in the single folder there; by name. Raises InputError."""
    folder = root
    while not (names := sorted(name for name in tree.files(folder) if has_table_name(Path(name)))):
        inside = subfolders(folder, tree)
        if len(inside) != 1:
            return []
        folder /= inside[0]
    return [folder / name for name in names]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _ARCHIVE_LEFTOVERS


def _has_signature(file: StoredFile) -> bool:
    try:
        return _SIGNATURES.match(file.first_bytes(_SIGNATURE_BYTES)) is not None
    except (OSError, ValueError):
        return False
