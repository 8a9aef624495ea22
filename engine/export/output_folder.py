"""The output folder of an export, created atomically."""

from __future__ import annotations

import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.errors import InputError
from engine.files.atomic import sync_folder
from engine.runs.folder import RunFolder

_MARK = 4  # random bytes in the name of an unfinished export


def destination(folder: RunFolder, format_name: str, output: Path | None) -> Path:
    """The folder to create: export/FORMAT in the run's folder, or ``output``. Raises InputError where it can't be."""
    if output is None:
        if folder.exports.is_symlink():  # a run of other origin may point out of its folder
            raise InputError(f"{folder.exports}: is a link out of the run; remove it, or choose another folder with -o")
        return folder.exports / format_name
    if output.is_symlink() or (output.exists() and not (output.is_dir() and not any(output.iterdir()))):
        raise InputError(f"{output}: exists already; choose another folder with -o")
    return output


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder (mode 0700) that replaces ``path`` on success and disappears on failure.

    Also removes temporary folders of killed processes. Raises InputError where it can't be written.
    """
    mark = secrets.token_hex(_MARK)
    temporary, old = (path.parent / f".{path.name}.{mark}{kind}" for kind in ("", ".old"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_leftovers(path)
        temporary.mkdir(mode=0o700)
        with _open_folder(temporary) as descriptor:
            with suppress(OSError):  # no locks on this file system: a killed process's folder stays
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield temporary
            _sync(temporary)
            if os.path.lexists(path):
                path.rename(old)
            temporary.rename(path)
            sync_folder(path.parent)
    except OSError as error:
        raise InputError(
            f"{path}: can't be written ({error.strerror or error}); choose another folder with -o"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.is_symlink() or old.is_file():
            old.unlink()
        elif old.exists():
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    """Yield the folder's file descriptor, to lock it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary folders that killed processes left beside ``path``, and restore a replaced ``path``."""
    pattern = f".{glob.escape(path.name)}.{'[0-9a-f]' * 2 * _MARK}"
    for replaced in path.parent.glob(f"{pattern}.old"):
        if not os.path.lexists(path):
            replaced.rename(path)
    for leftover in (*path.parent.glob(pattern), *path.parent.glob(f"{pattern}.old")):
        with suppress(OSError), _open_folder(leftover) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(leftover, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Flush the files in ``folder`` to disk."""
    for path in folder.iterdir():
        with path.open("rb") as written:
            os.fsync(written.fileno())
    sync_folder(folder)
