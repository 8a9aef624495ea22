"""Lists and clears the cache. Imports no numpy."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.cache import eviction
from engine.cache.description import About, about_of
from engine.cache.folder import RESULTS, files_of, space_folders, used
from engine.cache.index_format import count_rows
from engine.cache.space_lock import LOCK, last_used, try_lock


class SpaceInfo(msgspec.Struct):
    """One space on disk, or one kind of earlier results.

    ``about``: its description, the latest entries first; ``last_used`` in Unix seconds.
    """

    kind: str
    identity: str
    path: str
    about: About
    bytes: int
    rows: int
    last_used: float
    in_use: bool


def spaces(root: Path) -> list[SpaceInfo]:
    """The spaces of the cache, most recently used first."""
    found = [_info(space) for space in space_folders(root)]
    return sorted((info for info in found if info), key=lambda info: -info.last_used)


def known(root: Path) -> list[SpaceInfo]:
    """Earlier results by kind; their rows are files."""
    found = []
    for name, holds in RESULTS.items():
        with suppress(OSError):
            if files := files_of(root / name):
                found.append(
                    SpaceInfo(
                        kind=name.removesuffix(".json"),
                        identity="",
                        path=str(root / name),
                        about={"holds": [holds]},
                        bytes=sum(file.st_size for file in files),
                        rows=len(files),
                        last_used=max(file.st_mtime for file in files),
                        in_use=False,
                    )
                )
    return found


def clear(root: Path) -> int:
    """Remove everything that no running process has open. Returns the freed bytes."""
    before = used(root)
    for space in space_folders(root):
        eviction.remove(space)
    for name in RESULTS:
        shutil.rmtree(root / name, ignore_errors=True)
        with suppress(OSError):
            (root / name).unlink()
    eviction.remove_leftovers(root)
    return before - used(root)


def _info(space: Path) -> SpaceInfo | None:
    try:
        with os.scandir(space) as entries:
            size = sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
        return SpaceInfo(
            kind=space.parent.name,
            identity=space.name,
            path=str(space),
            about=about_of(space),
            bytes=size,
            rows=count_rows(space),
            last_used=last_used(space),
            in_use=_in_use(space),
        )
    except OSError:  # removed meanwhile
        return None


def _in_use(space: Path) -> bool:
    try:
        lock = os.open(space / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not try_lock(lock)
    finally:
        os.close(lock)
