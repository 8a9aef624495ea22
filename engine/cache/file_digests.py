"""Content keys: BLAKE2b-128 of a file's bytes, with a memory of files that have not changed since.

A file is taken as unchanged by its device, inode, size and both times, as git's index does; and as there, one that
changed within the last moments is not remembered, because it may change again without its times moving on.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from engine.cache.eviction import private_folder
from engine.cache.feature_files import KEY, Keys
from engine.files.atomic import write_atomically
from engine.files.safe_open import open_regular

_STAMP = struct.Struct("<QQQqq")  # device, inode, size, mtime and ctime in ns
_RECORD = np.dtype([("stamp", f"V{_STAMP.size}"), ("digest", KEY)])
_MAGIC = b"tltui files 1\n\0\0"
_RACY = 2_000_000_000  # ns; coarser than the clock of any file system in use
_MOST = 1_000_000  # files remembered, 56 MB


def digest(*parts: bytes) -> bytes:
    """16 bytes that stand for ``parts``; their borders count."""
    if len(parts) == 1:
        return hashlib.blake2b(parts[0], digest_size=KEY.itemsize).digest()
    state = hashlib.blake2b(digest_size=KEY.itemsize)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.digest()


def as_keys(digests: list[bytes]) -> Keys:
    """Digests of 16 bytes as the cache takes them."""
    return np.frombuffer(b"".join(digests), KEY)


class FileDigests:
    """Digests of files; those of unchanged ones come from the cache's folder. May be used from several threads."""

    def __init__(self, root: Path) -> None:
        """What is remembered in ``root``; nothing if that can't be read."""
        self._path = root / "digests" / "files"
        self._root = root
        self._known = _load(self._path)
        self._used: dict[bytes, bytes] = {}
        self._new = False

    def look(self, path: Path) -> bytes | None:
        """The digest of a file that is known and unchanged."""
        try:
            stamp = _stamp(os.stat(path))
        except (OSError, ValueError):  # ValueError: a name that can't be one
            return None
        known = self._known.get(stamp)
        if known is not None:
            self._used[stamp] = known
        return known

    def read(self, path: Path, most: int) -> tuple[bytes, bytes]:
        """The digest of a file, and its bytes. Raises OSError, also for one of more than ``most`` bytes."""
        with open_regular(path) as file:
            before, now = os.fstat(file.fileno()), time.time_ns()
            if before.st_size > most:
                raise OSError(
                    errno.EFBIG, f"it has {before.st_size / 2**30:,.0f} GiB, more than an image takes", str(path)
                )
            content = file.read()
            after = os.fstat(file.fileno())
        key = digest(content)
        if _stamp(before) == _stamp(after) and max(before.st_mtime_ns, before.st_ctime_ns) < now - _RACY:
            self._used[_stamp(before)] = key
            self._new = True
        return key, content

    def save(self) -> None:
        """Remember what is new, beside what others remembered meanwhile; not remembering is no error."""
        if not self._new:
            return
        with suppress(OSError):
            folder = private_folder(self._root, "digests")
            lock = os.open(folder / "lock", os.O_RDONLY | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                merged = _load(self._path)
                for stamp, key in self._used.items():  # to the end, where what was used last stands
                    merged.pop(stamp, None)
                    merged[stamp] = key
                write_atomically(self._path, _pack(list(merged.items())[-_MOST:]))
                self._new = False
            finally:
                os.close(lock)


def _stamp(status: os.stat_result) -> bytes:
    return _STAMP.pack(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _pack(known: list[tuple[bytes, bytes]]) -> bytes:
    records = b"".join(stamp + key for stamp, key in known)
    return _MAGIC + struct.pack("<I", zlib.crc32(records)) + records


def _load(path: Path) -> dict[bytes, bytes]:
    try:
        content = path.read_bytes()
    except OSError:
        return {}
    start = len(_MAGIC) + 4
    records = content[start:]
    sound = content[:start] == _MAGIC + struct.pack("<I", zlib.crc32(records)) and len(records) % _RECORD.itemsize == 0
    if not sound:
        return {}
    table = np.frombuffer(records, _RECORD)
    return dict(zip(table["stamp"].tolist(), table["digest"].tolist(), strict=True))
