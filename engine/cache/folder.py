"""The cache folder, shared by all runs: its location, content and size.

KIND/IDENTITY/            a space: rows of one kind with the same dependencies
    about.json            the dependencies, for people
    lock                  held shared by every process that has the space open; its mtime is the last use
    fill-WORK.lock        held by the one process that computes these rows
    ID.bin, ID.idx        rows and their index (feature_files.py)
digests/                  content digests of files (file_digests.py)
trees/, profiles/         layer trees and cost profiles (memo.py)
arithmetic.json           the faster precision on this processor
fits.json                 the largest batch that fits, by device and model
lock                      held while space is reserved
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import platformdirs

CACHE = "TLTUI_CACHE"
KINDS = ("images", "features")
TREES = "trees"
PROFILES = "profiles"
DIGESTS = "digests"
ARITHMETIC = "arithmetic.json"
FITS = "fits.json"
RESULTS = {  # folders and files with earlier results, and their contents for people
    TREES: "layer trees of networks",
    PROFILES: "costs of networks on this machine",
    ARITHMETIC: "measured arithmetic",
    FITS: "batch sizes that fit into memory",
    DIGESTS: "digests of files",
}
_IDENTITY = re.compile(r"[0-9a-f]{8,128}")


def cache_root() -> Path:
    """The cache folder: $TLTUI_CACHE, else the platform's cache folder of this user."""
    chosen = os.environ.get(CACHE)
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_cache_dir("tltui"))


def private_folder(root: Path, *below: str) -> Path:
    """Create ``root`` and the folders below it with mode 0700 if they are missing. Raises OSError."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = root
    for name in below:
        folder /= name
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def used(root: Path) -> int:
    """Bytes that the cache takes, with those reserved by a writer."""
    return sum(max(file.st_size, file.st_blocks * 512) for file in _files(root))


def limit(root: Path) -> int:
    """Bytes that the cache may take: half of what would be free on its disk without it. Raises OSError."""
    disk = os.statvfs(root)
    return (disk.f_bavail * disk.f_frsize + sum(file.st_blocks * 512 for file in _files(root))) // 2


def space_folders(root: Path) -> list[Path]:
    """The folders of all spaces."""
    found = []
    for kind in KINDS:
        with suppress(OSError), os.scandir(root / kind) as entries:
            found += [
                Path(entry.path)
                for entry in entries
                if _IDENTITY.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            ]
    return found


def files_of(known: Path) -> list[os.stat_result]:
    """The files of an entry of RESULTS: those in the folder, or the file itself. Raises OSError."""
    if known.is_dir():
        with os.scandir(known) as entries:
            return [entry.stat(follow_symlinks=False) for entry in entries if entry.is_file(follow_symlinks=False)]
    return [known.stat(follow_symlinks=False)]


def _files(root: Path) -> Iterator[os.stat_result]:
    for name in RESULTS:
        with suppress(OSError):
            yield from files_of(root / name)
    folders = [root / kind for kind in KINDS]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        yield entry.stat(follow_symlinks=False)
