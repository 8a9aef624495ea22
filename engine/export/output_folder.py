"""Where an export goes: a folder that is whole or not there."""

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

_MARK = 4  # bytes that tell one export under way from another


def destination(folder: RunFolder, format_name: str, output: Path | None) -> Path:
    """The folder to be made: export/FORMAT in the run's, or ``output``. Raises InputError where it may not be made."""
    if output is None:
        if folder.exports.is_symlink():  # the run may come from elsewhere, and lead out of its folder
            raise InputError(f"{folder.exports}: is a link and may lead anywhere; remove it, or choose a place with -o")
        return folder.exports / format_name
    if output.is_symlink() or (output.exists() and not (output.is_dir() and not any(output.iterdir()))):
        raise InputError(f"{output}: exists already; choose another place with -o")
    return output


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder (0700) to write into that takes the place of ``path`` when all went well, and else leaves nothing.

    What a process that was killed left of its own is removed. Raises InputError where it can't be written.
    """
    mark = secrets.token_hex(_MARK)
    temporary, old = (path.parent / f".{path.name}.{mark}{kind}" for kind in ("", ".old"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _tidy_up(path)
        temporary.mkdir(mode=0o700)
        with _open(temporary) as descriptor:
            with suppress(OSError):  # no locks here: then what a killed process leaves stays
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield temporary
            _sync(temporary)
            if os.path.lexists(path):
                path.rename(old)
            temporary.rename(path)
            sync_folder(path.parent)
    except OSError as error:
        raise InputError(
            f"{path}: can't be written ({error.strerror or error}); choose another place with -o"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.is_symlink() or old.is_file():
            old.unlink()
        elif old.exists():
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _open(folder: Path) -> Iterator[int]:
    """Its descriptor, which locks it as long as this process lives, where the file system knows locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _tidy_up(path: Path) -> None:
    """Remove what processes that were killed left while they wrote ``path``; what they had put aside comes back."""
    begun = f".{glob.escape(path.name)}.{'[0-9a-f]' * 2 * _MARK}"
    for aside in path.parent.glob(f"{begun}.old"):
        if not os.path.lexists(path):
            aside.rename(path)
    for left in (*path.parent.glob(begun), *path.parent.glob(f"{begun}.old")):
        with suppress(OSError), _open(left) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Wait until the files in ``folder`` would survive a loss of power."""
    for path in folder.iterdir():
        with path.open("rb") as written:
            os.fsync(written.fileno())
    sync_folder(folder)
