"""Rows of bytes keyed by the digest of their input, shared between runs."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.cache import eviction
from engine.cache.description import describe
from engine.cache.feature_files import ENTRY, Keys, Row, RowFiles, tidy
from engine.cache.folder import CACHE, limit
from engine.cache.space_lock import hold, touch, try_lock
from engine.warning_codes import Warn, WarningCode

_PUBLISH_BYTES = 64 * 2**20
_PUBLISH_SECONDS = 5.0
_PLACE = np.dtype([("file", "<u4"), ("offset", "<u8"), ("shape", "<u4", 4)])


class CacheSpace:
    """Rows of one kind with the same dependencies, in the cache folder or, if that fails, in memory.

    Several threads of one process may append, publish and refresh. ``present`` and ``read`` take no lock, so that they
    also work in forked processes. Those see the rows from before the fork.
    """

    def __init__(
        self,
        root: Path,
        kind: str,
        identity: str,
        about: Mapping[str, Any],
        on_problem: Warn,
        memory: int,
    ) -> None:
        """Open or create a space.

        - ``kind``: "images" or "features".
        - ``identity``: a hex digest of everything that the rows depend on besides their keys.
        - ``about``: the same in words, for `tltui cache` ("data", "model", "boundary" …).
        - ``on_problem``: called once per code with a code and a message, such as "cache_full" where the folder is full
          or "cache_unusable" where it fails.
        - ``memory``: the most bytes of rows to keep in memory where the folder can't take them.
        """
        self._root = root
        self._folder = root / kind / identity
        self._on_problem = on_problem
        self._warned: set[WarningCode] = set()
        self._process = os.getpid()
        self._lock = threading.Lock()
        # Rows that no file has. A row enters ``_where`` before it leaves this, so that readers need no lock.
        self._memory: dict[bytes, Row] = {}
        self._unpublished = 0
        self._limit = memory
        self._published = time.monotonic()
        self._where: dict[bytes, int] = {}
        self._places = np.empty(0, _PLACE)
        self._files: list[RowFiles] = []
        self._known: set[str] = set()
        self._writer: int | None = None
        self._held: int | None = None
        self._on_disk = True
        try:
            self._held = hold(root, kind, identity, tidy)
            describe(self._folder, about)
            with eviction.evict_until_fits(root, 0):
                pass
        except OSError as error:
            self._stop_writing(error)
        self.refresh()

    def __len__(self) -> int:
        """The number of rows that can be read."""
        return len(self._where) + len(self._memory)

    def __contains__(self, key: bytes) -> bool:
        """Whether there is a row for a key of 16 bytes."""
        return key in self._memory or key in self._where

    def present(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Whether there is a row, for each key."""
        return np.array([key in self for key in keys.tolist()], bool)

    def read(self, keys: Keys) -> list[Row]:
        """Copies of the rows in the order of the keys, in the shapes in which they were appended.

        Raises KeyError for a key without a row, also where its file is damaged.
        """
        rows: list[Row | None] = [None] * len(keys)
        names: list[bytes] = keys.tolist()
        stored, numbers = [], []
        for at, key in enumerate(names):
            if (row := self._memory.get(key)) is not None:
                rows[at] = row.copy()
            else:
                stored.append(at)
                numbers.append(self._where[key])
        places = self._places[np.array(numbers, np.intp)]
        columns = (places[name].tolist() for name in ("file", "offset", "shape"))
        for at, file, offset, shape in zip(stored, *columns, strict=True):
            try:
                rows[at] = self._files[file].read(offset, tuple(filter(None, shape)))
            except (OSError, EOFError) as error:
                self._warn(
                    "cache_unusable", f"{self._folder}: cached rows can't be read ({error}); they are computed again"
                )
                self._where.pop(names[at], None)
                raise KeyError(names[at]) from error
        return rows  # pyright: ignore[reportReturnType] (each was set)

    def append(self, keys: Keys, rows: Sequence[Row]) -> None:
        """Add rows (uint8, 1 to 4 axes, not empty) that can be read immediately; skip keys that are present.

        A row for which neither the folder nor memory has room is left out.
        """
        with self._lock:
            for key, row in zip(keys.tolist(), rows, strict=True):
                if row.dtype != np.uint8 or not row.size or not 1 <= row.ndim <= 4:
                    raise ValueError(f"a row of the cache is uint8 with 1 to 4 axes, not {row.dtype} {row.shape}")
                if not self._on_disk and self._unpublished + row.nbytes > self._limit:
                    self._warn(
                        "cache_memory_full",
                        f"{self._root}: no room for more rows on disk or in memory "
                        f"({self._limit / 2**30:.1f} GiB, data.cache_gb); the rest is computed again in each epoch; "
                        "free disk space or raise data.cache_gb",
                    )
                    return
                if key not in self._memory and key not in self._where:
                    self._memory[key] = np.array(row, order="C")
                    self._unpublished += row.nbytes
            if self._unpublished >= _PUBLISH_BYTES or time.monotonic() - self._published >= _PUBLISH_SECONDS:
                self._publish()

    def publish(self) -> None:
        """Write the appended rows to disk, visible to other processes and safe from a power loss."""
        with self._lock:
            self._publish()

    def refresh(self) -> None:
        """Read the index entries that other processes published."""
        with self._lock:
            self._refresh()

    @contextmanager
    def filling(self, work: bytes) -> Iterator[bool]:
        """Yield whether this process should compute the rows that ``work`` names, for example by all their keys.

        - True: no other process computes them, and all published rows are visible here.
        - False: another process computes them. Wait, ``refresh`` and ask again; if the other dies, this one takes over.
        """
        name = f"fill-{hashlib.blake2b(work, digest_size=16).hexdigest()}.lock"
        lock = None
        try:
            lock = os.open(self._folder / name, os.O_RDONLY | os.O_CREAT, 0o600)
            mine = try_lock(lock)
        except OSError:
            mine = True  # the folder can't be used, so each process computes its own
        try:
            if mine:
                self.refresh()
            yield mine
        finally:
            if mine:
                self.publish()
            if lock is not None:
                os.close(lock)

    def close(self) -> None:
        """Publish and close the files."""
        with self._lock:
            self._publish()
            self._where.clear()
            for file in self._files:
                file.close()
            self._files.clear()
            touch(self._folder)
            if self._held is not None:
                os.close(self._held)
                self._held = None
            self._on_disk = False

    def _refresh(self) -> None:
        if self._held is None:
            return
        try:
            with os.scandir(self._folder) as entries:
                new = {entry.name for entry in entries if entry.name.endswith(".idx") and entry.name[0] != "."}
            for name in sorted(new - self._known):
                self._known.add(name)
                with suppress(OSError, ValueError):
                    self._files.append(RowFiles(self._folder / name))
            for number, file in enumerate(self._files):
                if number != self._writer:
                    self._add(number, file.poll())
        except OSError as error:
            self._stop_writing(error)

    def _add(self, number: int, entries: npt.NDArray[np.void]) -> None:
        if not len(entries):
            return
        places = np.empty(len(entries), _PLACE)
        places["file"] = number
        places["offset"], places["shape"] = entries["offset"], entries["shape"]
        first = len(self._places)
        self._places = np.concatenate([self._places, places])
        self._where.update(zip(entries["key"].tolist(), range(first, len(self._places)), strict=True))

    def _publish(self) -> None:
        self._published = time.monotonic()
        if not self._on_disk or not self._memory:
            return
        try:
            self._write(list(self._memory.items()))
        except OSError as error:
            self._stop_writing(error)

    def _write(self, rows: list[tuple[bytes, Row]]) -> None:
        size = sum(row.nbytes for _, row in rows)
        writer = self._files[self._choose_writer()]
        with eviction.evict_until_fits(self._root, size + len(rows) * ENTRY.itemsize + 4096) as fits:
            if not fits:
                self._on_disk = False
                self._warn(
                    "cache_full",
                    f"{self._root}: the cache is full ({limit(self._root) / 2**30:.1f} GiB, half of the free "
                    "disk) and all of it is in use; new rows stay in memory; free disk space there, or set "
                    f"${CACHE} to a larger disk",
                )
                return
            writer.reserve(size)
        self._add(self._writer or 0, writer.append([key for key, _ in rows], [row for _, row in rows]))
        self._memory = {}
        self._unpublished = 0

    def _choose_writer(self) -> int:
        """The number of the pair to append to: the current one, a free one, or a new one. Raises OSError."""
        if self._writer is not None and not self._files[self._writer].full:
            return self._writer
        self._refresh()
        for number, file in enumerate(self._files):
            if number != self._writer and file.claim():
                self._writer = number
                return number
        created = RowFiles.create(self._folder)
        self._known.add(created.name)
        self._files.append(created)
        self._writer = len(self._files) - 1
        return self._writer

    def _stop_writing(self, error: OSError) -> None:
        self._on_disk = False
        self._warn(
            "cache_unusable",
            f"{self._folder}: can't be used as a cache ({error.strerror or error}); new rows stay in memory "
            f"and are lost at the end; free disk space there, or set ${CACHE} to a writable folder",
        )

    def _warn(self, code: WarningCode, sentence: str) -> None:
        # A forked process must not write to its parent's event log.
        if code not in self._warned and os.getpid() == self._process:
            self._warned.add(code)
            self._on_problem(code, sentence)
