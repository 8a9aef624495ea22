"""Content keys, BLAKE2b-128 of a file's bytes, with a cache for unchanged files.

A file counts as unchanged by its stamp: device, inode, size, mtime and ctime, as in git's index. As there, a file that
changed within the last 2 seconds is not cached, because it may change again with the same times.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from engine.cache.feature_files import KEY, Keys
from engine.cache.folder import private_folder
from engine.files.atomic import write_atomically
from engine.files.stored_file import STAMP_BYTES, StoredFile

_RECORD = np.dtype([("stamp", f"V{STAMP_BYTES}"), ("digest", KEY)])
_MAGIC = b"tltui files 1\n\0\0"
_RACY = 2_000_000_000  # ns; coarser than the clock of any file system in use
_MOST = 1_000_000  # cached files, 56 MB


def digest(*parts: bytes) -> bytes:
    """A digest of 16 bytes over ``parts`` and their boundaries."""
    if len(parts) == 1:
        return hashlib.blake2b(parts[0], digest_size=KEY.itemsize).digest()
    state = hashlib.blake2b(digest_size=KEY.itemsize)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.digest()


def as_keys(digests: list[bytes]) -> Keys:
    """Convert digests of 16 bytes to the cache's keys."""
    return np.frombuffer(b"".join(digests), KEY)


class FileDigests:
    """Digests of files, from the cache folder for unchanged ones. Several threads may use it."""

    def __init__(self, root: Path) -> None:
        """Load the digests in ``root``; none if they can't be read."""
        self._path = root / "digests" / "files"
        self._root = root
        self._known = _load(self._path)
        self._used: dict[bytes, bytes] = {}
        self._new = False

    def get(self, file: StoredFile) -> bytes | None:
        """The cached digest of an unchanged file; None if there is none."""
        try:
            stamp = file.stamp().identity
        except (OSError, ValueError):  # ValueError: a null byte in the name
            return None
        known = self._known.get(stamp)
        if known is not None:
            self._used[stamp] = known
        return known

    def read(self, file: StoredFile, most: int) -> tuple[bytes, bytes]:
        """The digest and the bytes of a file. Raises OSError, also for more than ``most`` bytes."""
        now = time.time_ns()
        content, stamp = file.read(most)
        key = digest(content)
        if stamp and stamp.changed_ns < now - _RACY:
            self._used[stamp.identity] = key
            self._new = True
        return key, content

    def save(self) -> None:
        """Save new digests, merged with those of other processes. A failure is ignored."""
        if not self._new:
            return
        with suppress(OSError):
            folder = private_folder(self._root, "digests")
            lock = os.open(folder / "lock", os.O_RDONLY | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                merged = _load(self._path)
                for stamp, key in self._used.items():  # the last used are at the end
                    merged.pop(stamp, None)
                    merged[stamp] = key
                write_atomically(self._path, _pack(list(merged.items())[-_MOST:]))
                self._new = False
            finally:
                os.close(lock)


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
