"""Decoded pictures: each file is decoded and resized once in a run, however many epochs it has."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from engine.data.pictures import Pixels, prepare
from engine.data.source import Source
from engine.errors import first_line
from engine.progress import Report
from engine.protocol import SkippedFile

_CHUNK = 512  # pictures handed to the decoding threads at once


class PictureStore:
    """Pictures as uint8 (height, width, 3), in memory up to a budget in bytes, beyond it in a file without a name."""

    def __init__(self, budget: int, folder: Path) -> None:
        self._budget = budget
        self._folder = folder
        self._in_memory: list[Pixels] = []
        self._in_file: list[tuple[int, tuple[int, ...]]] = []
        self._spill: int | None = None
        self.bytes = 0

    def append(self, pixels: Pixels) -> None:
        """Keep one more picture. Raises OSError where the file's disk is full."""
        if not self._in_file and self.bytes + pixels.nbytes <= self._budget:
            self._in_memory.append(pixels)
        else:
            if self._spill is None:
                # Without a name it is gone with the process, however that ends.
                with tempfile.TemporaryFile(dir=self._folder) as file:
                    self._spill = os.dup(file.fileno())
                self._spilled = 0
            self._in_file.append((self._spilled, pixels.shape))
            data = memoryview(pixels.tobytes())
            while data:
                written = os.pwrite(self._spill, data, self._spilled)
                self._spilled += written
                data = data[written:]
        self.bytes += pixels.nbytes

    def __len__(self) -> int:
        return len(self._in_memory) + len(self._in_file)

    def __getitem__(self, index: int) -> Pixels:
        if index < len(self._in_memory):
            return self._in_memory[index]
        offset, shape = self._in_file[index - len(self._in_memory)]
        assert self._spill is not None
        data = os.pread(self._spill, int(np.prod(shape)), offset)
        return np.frombuffer(bytearray(data), dtype=np.uint8).reshape(shape)


def decode_all(
    source: Source, shorter_side: int, interpolation: str, store: PictureStore, report: Report
) -> tuple[list[int], list[SkippedFile]]:
    """Decode every picture of ``source`` into ``store``.

    Returns the indices of those that could be read, in the order of the store, and what was skipped and why.
    """
    readable: list[int] = []
    skipped: list[SkippedFile] = []

    def decode(index: int) -> Pixels | str:
        try:
            with source.open(index) as image:
                return prepare(image, shorter_side, interpolation)
        except Exception as error:  # PIL's plugins raise nearly anything for a damaged file
            return first_line(error)

    for index, result in _in_threads(decode, len(source.pictures)):
        if isinstance(result, str):
            skipped.append(SkippedFile(path=source.pictures[index].key, reason=result))
        else:
            store.append(result)
            readable.append(index)
        report("data", index + 1, len(source.pictures), "pictures")
    return readable, skipped


def memory_budget(cache_gb: float) -> int:
    """Bytes for caches: what the config says, or a quarter of the memory that is free now."""
    return int(cache_gb * 2**30) if cache_gb else psutil.virtual_memory().available // 4


def _in_threads(work: Callable[[int], Pixels | str], count: int) -> Iterator[tuple[int, Pixels | str]]:
    """Results in order. PIL decodes and resizes outside the interpreter's lock, so threads are enough."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, _CHUNK):
            indices = range(start, min(start + _CHUNK, count))
            yield from zip(indices, pool.map(work, indices), strict=True)
