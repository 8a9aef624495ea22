"""The cache folder, shared by all runs: its location, locks, size limit and least-recently-used eviction.

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

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import platformdirs

from engine.files.atomic import write_atomically

CACHE = "TLTUI_CACHE"
KINDS = ("images", "features")
TREES = "trees"
PROFILES = "profiles"
DIGESTS = "digests"
ARITHMETIC = "arithmetic.json"
FITS = "fits.json"
KNOWN = {  # folders and files with earlier results, and their contents for people
    TREES: "layer trees of networks",
    PROFILES: "costs of networks on this machine",
    ARITHMETIC: "measured arithmetic",
    FITS: "batch sizes that fit into memory",
    DIGESTS: "digests of files",
}
LOCK = "lock"
ABOUT = "about.json"
_REMOVED = ".removed-"
_IDENTITY = re.compile(r"[0-9a-f]{8,128}")
_MOST_NAMES = 8  # datasets listed for a space that they share

About = dict[str, list[str]]


def cache_root() -> Path:
    """The cache folder: $TLTUI_CACHE, else the platform's cache folder of this user."""
    chosen = os.environ.get(CACHE)
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_cache_dir("tltui"))


def used(root: Path) -> int:
    """Bytes that the cache takes, with those reserved by a writer."""
    return sum(max(file.st_size, file.st_blocks * 512) for file in _files(root))


def limit(root: Path) -> int:
    """Bytes that the cache may take: half of what would be free on its disk without it. Raises OSError."""
    disk = os.statvfs(root)
    return (disk.f_bavail * disk.f_frsize + sum(file.st_blocks * 512 for file in _files(root))) // 2


def private_folder(root: Path, *below: str) -> Path:
    """Create ``root`` and the folders below it with mode 0700 if they are missing. Raises OSError."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = root
    for name in below:
        folder /= name
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def hold(root: Path, kind: str, identity: str, tidy: Callable[[Path], None]) -> int:
    """Lock a space against removal by other processes. Raises OSError.

    Calls ``tidy(space)`` if no other process has the space open. Returns a descriptor; close it to release the lock.
    """
    for _ in range(100):  # another process may remove the space between two lines
        space = private_folder(root, kind, identity)
        try:
            lock = os.open(space / LOCK, os.O_RDONLY | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue
        try:
            if try_lock(lock) and _is_still(lock, space):
                tidy(space)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _is_still(lock, space):
                touch(space)
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
    raise OSError(errno.EBUSY, "other processes keep removing it")


def touch(space: Path) -> None:
    """Mark a space as used now."""
    with suppress(OSError):  # a read-only cache
        os.utime(space / LOCK)


def try_lock(descriptor: int) -> bool:
    """Take an exclusive lock if it is free. Raises OSError if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def describe(space: Path, about: Mapping[str, object]) -> None:
    """Add to a space's description for people. Raises OSError."""
    known = about_of(space)
    merged = {
        key: list(dict.fromkeys([str(about[key]), *known.get(key, [])] if key in about else known[key]))[:_MOST_NAMES]
        for key in dict.fromkeys([*known, *about])
    }
    if merged != known:
        write_atomically(space / ABOUT, msgspec.json.encode(merged))


def remove(space: Path) -> bool:
    """Remove a space unless a running process has it open."""
    try:
        lock = os.open(space / LOCK, os.O_RDONLY | os.O_CREAT, 0o600)
    except OSError:
        return False
    try:
        if not (try_lock(lock) and _is_still(lock, space)):
            return False
        # Renamed first, so that a process that opens the space meanwhile starts a new one.
        doomed = space.with_name(f"{_REMOVED}{secrets.token_hex(4)}")
        os.rename(space, doomed)
    except OSError:
        return False
    finally:
        os.close(lock)
    shutil.rmtree(doomed, ignore_errors=True)
    return True


@contextmanager
def room(root: Path, wanted: int) -> Iterator[bool]:
    """Evict least recently used spaces until ``wanted`` more bytes fit; yields whether they do.

    No other process can reserve space inside the block. Raises OSError.
    """
    lock = os.open(root / LOCK, os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _fits(root, wanted):
            remove_leftovers(root)
            for space in sorted(space_folders(root), key=last_used):
                if _fits(root, wanted):
                    break
                remove(space)
        yield _fits(root, wanted)
    finally:
        os.close(lock)


def remove_leftovers(root: Path) -> None:
    """Remove the rest of spaces whose removal was interrupted."""
    for kind in KINDS:
        for leftover in (root / kind).glob(f"{_REMOVED}*"):
            shutil.rmtree(leftover, ignore_errors=True)


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


def last_used(space: Path) -> float:
    """The time at which a space was last opened or closed, in Unix seconds."""
    for path in (space / LOCK, space):
        with suppress(OSError):
            return path.stat().st_mtime
    return 0.0


def about_of(space: Path) -> About:
    """The description of a space, the latest entries first."""
    try:
        return msgspec.json.decode((space / ABOUT).read_bytes(), type=About)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _fits(root: Path, wanted: int) -> bool:
    return used(root) + wanted <= limit(root)


def _is_still(lock: int, space: Path) -> bool:
    """Whether an open lock is still the lock file of ``space``."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(space / LOCK))
    except FileNotFoundError:
        return False


def files_of(known: Path) -> list[os.stat_result]:
    """The files of an entry of KNOWN: those in the folder, or the file itself. Raises OSError."""
    if known.is_dir():
        with os.scandir(known) as entries:
            return [entry.stat(follow_symlinks=False) for entry in entries if entry.is_file(follow_symlinks=False)]
    return [known.stat(follow_symlinks=False)]


def _files(root: Path) -> Iterator[os.stat_result]:
    for name in KNOWN:
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
