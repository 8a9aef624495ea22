"""Rows of bytes that are found by what they were computed from, shared between runs."""

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
from engine.cache.feature_files import ENTRY, Keys, Row, RowFiles, tidy
from engine.warning_codes import Warn, WarningCode

_PUBLISH_BYTES = 64 * 2**20
_PUBLISH_SECONDS = 5.0
_PLACE = np.dtype([("file", "<u4"), ("offset", "<u8"), ("shape", "<u4", 4)])


class Space:
    """Rows of one kind that depend on the same things, in the cache's folder and, while that fails, in memory.

    One process may append, publish and refresh from several threads; ``present`` and ``read`` take no lock, so that
    they work in forked processes, too, which see what was there when they began.
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
        """Open or begin a space.

        ``kind``: "images" or "features". ``identity``: a hex digest of everything that the rows depend on beside
        their keys. ``about``: the same in words, for `tltui cache` ("data", "model", "boundary" …). ``on_problem`` is
        given a code and a sentence where the folder is full ("cache_full") or fails ("cache_unusable"), each once.
        ``memory``: bytes of rows that are kept there at most while the folder can't take them.
        """
        self._root = root
        self._folder = root / kind / identity
        self._on_problem = on_problem
        self._told: set[WarningCode] = set()
        self._process = os.getpid()
        self._lock = threading.Lock()
        # Rows that no file holds; a row is in ``_where`` before it leaves this, so that readers need no lock.
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
        self._keeps = True
        try:
            self._held = eviction.hold(root, kind, identity, tidy)
            eviction.describe(self._folder, about)
            with eviction.room(root, 0):
                pass
        except OSError as error:
            self._give_up(error)
        self.refresh()

    def __len__(self) -> int:
        """Rows that can be read."""
        return len(self._where) + len(self._memory)

    def __contains__(self, key: bytes) -> bool:
        """Whether there is a row for a key of 16 bytes."""
        return key in self._memory or key in self._where

    def present(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """For each key whether there is a row."""
        return np.array([key in self for key in keys.tolist()], bool)

    def read(self, keys: Keys) -> list[Row]:
        """The rows in the order of the keys, shaped as they were appended, in memory of their own.

        Raises KeyError for a key that has no row, or none any more because someone damaged the files.
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
                self._tell(
                    "cache_unusable", f"{self._folder}: what was cached can't be read ({error}); it is computed again"
                )
                self._where.pop(names[at], None)
                raise KeyError(names[at]) from error
        return rows  # pyright: ignore[reportReturnType] (each was set)

    def append(self, keys: Keys, rows: Sequence[Row]) -> None:
        """Add rows (uint8, 1 to 4 axes, not empty); a key that is present is skipped. They can be read at once.

        Where neither the folder nor memory has room for a row, it is left out.
        """
        with self._lock:
            for key, row in zip(keys.tolist(), rows, strict=True):
                if row.dtype != np.uint8 or not row.size or not 1 <= row.ndim <= 4:
                    raise ValueError(f"a row of the cache is uint8 with 1 to 4 axes, not {row.dtype} {row.shape}")
                if not self._keeps and self._unpublished + row.nbytes > self._limit:
                    self._tell(
                        "cache_memory_full",
                        f"what can't be cached in {self._root} takes all of the memory that it may "
                        f"({self._limit / 2**30:.1f} GiB, data.cache_gb); the rest is computed again in each epoch",
                    )
                    return
                if key not in self._memory and key not in self._where:
                    self._memory[key] = np.array(row, order="C")
                    self._unpublished += row.nbytes
            if self._unpublished >= _PUBLISH_BYTES or time.monotonic() - self._published >= _PUBLISH_SECONDS:
                self._publish()

    def publish(self) -> None:
        """Make what was appended complete on disk, for other processes and against a loss of power."""
        with self._lock:
            self._publish()

    def refresh(self) -> None:
        """See what other processes published."""
        with self._lock:
            self._refresh()

    @contextmanager
    def filling(self, work: bytes) -> Iterator[bool]:
        """Whether it falls to this process to compute the rows that ``work`` names (say, all their keys).

        False: another does so now; wait, ``refresh``, look what is missing, and ask again: where the other died, this
        process takes over. True also means that all that others published is visible here.
        """
        name = f"fill-{hashlib.blake2b(work, digest_size=16).hexdigest()}.lock"
        lock = None
        try:
            lock = os.open(self._folder / name, os.O_RDONLY | os.O_CREAT, 0o600)
            mine = eviction.try_lock(lock)
        except OSError:
            mine = True  # the folder can't be used: everyone for themselves
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
        """Publish and let go of the files."""
        with self._lock:
            self._publish()
            self._where.clear()
            for file in self._files:
                file.close()
            self._files.clear()
            eviction.touch(self._folder)
            if self._held is not None:
                os.close(self._held)
                self._held = None
            self._keeps = False

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
            self._give_up(error)

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
        if not self._keeps or not self._memory:
            return
        try:
            self._write(list(self._memory.items()))
        except OSError as error:
            self._give_up(error)

    def _write(self, rows: list[tuple[bytes, Row]]) -> None:
        size = sum(row.nbytes for _, row in rows)
        writer = self._files[self._choose_writer()]
        with eviction.room(self._root, size + len(rows) * ENTRY.itemsize + 4096) as fits:
            if not fits:
                self._keeps = False
                self._tell(
                    "cache_full",
                    f"{self._root}: the cache is full ({eviction.limit(self._root) / 2**30:.1f} GiB, half of the free "
                    "disk) and all of it is in use; what is new stays in memory; free space there, or set "
                    f"${eviction.CACHE} to a larger disk",
                )
                return
            writer.reserve(size)
        self._add(self._writer or 0, writer.append([key for key, _ in rows], [row for _, row in rows]))
        self._memory = {}
        self._unpublished = 0

    def _choose_writer(self) -> int:
        """The files to append to: those that were begun, any that nobody writes to, or new ones. Raises OSError."""
        if self._writer is not None and not self._files[self._writer].full:
            return self._writer
        self._refresh()
        for number, file in enumerate(self._files):
            if number != self._writer and file.claim():
                self._writer = number
                return number
        begun = RowFiles.create(self._folder)
        self._known.add(begun.name)
        self._files.append(begun)
        self._writer = len(self._files) - 1
        return self._writer

    def _give_up(self, error: OSError) -> None:
        self._keeps = False
        self._tell(
            "cache_unusable",
            f"{self._folder}: can't be used as a cache ({error.strerror or error}); what is computed stays in memory "
            f"and is lost at the end; free space there, or set ${eviction.CACHE} to a folder that can be written",
        )

    def _tell(self, code: WarningCode, sentence: str) -> None:
        # A forked process would write into an event log that is its parent's.
        if code not in self._told and os.getpid() == self._process:
            self._told.add(code)
            self._on_problem(code, sentence)
