"""Finds image files below a folder, by suffix or content. Imports neither torch nor Pillow: the app uses it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from engine.errors import InputError
from engine.files.escapes import printable
from engine.files.safe_open import open_regular

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


def image_files(folder: Path, passed_over: Counter[str] | None = None) -> Iterator[Path]:
    """Image files at any depth, in a stable order. Skips hidden files and links to folders.

    A usual suffix is enough; another file counts where its content begins like an image's.
    ``passed_over`` counts the others by suffix.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in sorted(files):
            if _is_hidden(name):
                continue
            if is_image(parent, name):
                yield Path(parent, name)
            elif passed_over is not None and name.lower() not in _SYSTEM_FILES:
                passed_over[printable(os.path.splitext(name)[1].lower())] += 1


def is_image(parent: str | Path, name: str) -> bool:
    """Whether the file ``name`` in ``parent`` is called like an image, or its content begins like one."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in SUFFIXES or (suffix not in _TEXT_SUFFIXES and _has_signature(Path(parent, name)))


def holds_images(folder: Path) -> bool:
    """Whether there is an image at any depth of ``folder``."""
    return next(image_files(folder), None) is not None


def own_images(folder: Path) -> Iterator[str]:
    """The names of the images that lie in ``folder`` itself, in no order. Raises InputError."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _is_hidden(entry.name) and _is_file(entry) and is_image(folder, entry.name):
                    yield entry.name
    except OSError as error:
        raise InputError(f"{folder}: can't be read ({error.strerror})") from None


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in ``folder`` that are not hidden, sorted.

    Leaves out links that lead nowhere, or up to a folder that holds them. Raises InputError.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not _is_hidden(entry.name) and _is_below(entry))
    except NotADirectoryError:
        raise InputError(f"{folder}: is a file, not a folder") from None
    except OSError as error:
        raise InputError(f"{folder}: can't be read ({error.strerror})") from None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _ARCHIVE_LEFTOVERS


def _has_signature(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return _SIGNATURES.match(file.read(_SIGNATURE_BYTES)) is not None
    except OSError:
        return False


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
