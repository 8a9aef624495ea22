"""The cache's folder, shared by all runs: where it lies, what is in it and in use, and how much it may hold.

KIND/IDENTITY/            a space: rows of one kind that depend on the same things
    about.json            what they depend on, for people
    lock                  held shared by every process that has the space open; its mtime is the last use
    fill-WORK.lock        held by the one process that computes these rows now
    ID.bin, ID.idx        rows and their index (rows.py)
digests/                  what is known about files (digests.py)
trees/, profiles/         what was described and measured before (memo.py)
arithmetic.json           which arithmetic this processor does faster
fits.json                 how many images at once fit into which memory
lock                      held while room is taken
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
KNOWN = {  # folders and files with what was found out before, and what they hold, for people
    TREES: "layer trees of networks",
    PROFILES: "costs of networks on this machine",
    ARITHMETIC: "arithmetic that was measured",
    FITS: "images at once that fit into memory",
    DIGESTS: "digests of files",
}
LOCK = "lock"
ABOUT = "about.json"
_REMOVED = ".removed-"
_IDENTITY = re.compile(r"[0-9a-f]{8,128}")
_MOST_NAMES = 8  # of data sets that share a space, remembered to be shown

About = dict[str, list[str]]


def cache_root() -> Path:
    """The cache of this user: $TLTUI_CACHE, else the platform's folder for caches."""
    chosen = os.environ.get(CACHE)
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_cache_dir("tltui"))


def used(root: Path) -> int:
    """Bytes that the cache takes, those included that are promised to a writer and not written yet."""
    return sum(max(file.st_size, file.st_blocks * 512) for file in _files(root))


def limit(root: Path) -> int:
    """Bytes that the cache may take: half of what its disk would have free without it. Raises OSError."""
    disk = os.statvfs(root)
    return (disk.f_bavail * disk.f_frsize + sum(file.st_blocks * 512 for file in _files(root))) // 2


def private_folder(root: Path, *below: str) -> Path:
    """``root`` and the folders below it, made with mode 0700 where they are missing. Raises OSError."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = root
    for name in below:
        folder /= name
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def hold(root: Path, kind: str, identity: str, tidy: Callable[[Path], None]) -> int:
    """Open a space's lock so that nobody removes the space while this process lives. Raises OSError.

    ``tidy(space)`` is called if no other process has the space open. Close the descriptor to let go.
    """
    for _ in range(100):  # it may be removed between two lines, but not for ever
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
    raise OSError(errno.EBUSY, "others keep removing it")


def touch(space: Path) -> None:
    """Mark a space as used now."""
    with suppress(OSError):  # a cache that can be read alone
        os.utime(space / LOCK)


def try_lock(descriptor: int) -> bool:
    """Take an exclusive lock unless someone else has one. Raises OSError where the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def describe(space: Path, about: Mapping[str, object]) -> None:
    """Add to what people are told about a space. Raises OSError."""
    known = about_of(space)
    merged = {
        key: list(dict.fromkeys([str(about[key]), *known.get(key, [])] if key in about else known[key]))[:_MOST_NAMES]
        for key in dict.fromkeys([*known, *about])
    }
    if merged != known:
        write_atomically(space / ABOUT, msgspec.json.encode(merged))


def remove(space: Path) -> bool:
    """Remove a space unless a living process has it open."""
    try:
        lock = os.open(space / LOCK, os.O_RDONLY | os.O_CREAT, 0o600)
    except OSError:
        return False
    try:
        if not (try_lock(lock) and _is_still(lock, space)):
            return False
        # Under another name at once, so that one who opens the space meanwhile starts a new one.
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
    """Whether ``wanted`` more bytes fit, once the spaces unused for longest are gone; nobody else takes room inside.

    Raises OSError.
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
    """Remove what is left of spaces whose removal was cut short."""
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
    """When a space was opened or closed last, in Unix seconds."""
    for path in (space / LOCK, space):
        with suppress(OSError):
            return path.stat().st_mtime
    return 0.0


def about_of(space: Path) -> About:
    """All that was said about a space, the latest first."""
    try:
        return msgspec.json.decode((space / ABOUT).read_bytes(), type=About)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _fits(root: Path, wanted: int) -> bool:
    return used(root) + wanted <= limit(root)


def _is_still(lock: int, space: Path) -> bool:
    """Whether an open lock is the one that lies in ``space`` now."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(space / LOCK))
    except FileNotFoundError:
        return False


def files_of(known: Path) -> list[os.stat_result]:
    """The files of one of KNOWN: those in the folder, or the one that it is itself. Raises OSError."""
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
