"""Prepared pictures: each is decoded and resized once, for all runs that want it at the same size."""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import PIL
import psutil
from PIL import Image

from engine.cache.digests import FileDigests, as_keys, digest
from engine.cache.rows import Keys
from engine.cache.space import Space
from engine.data.pictures import VERSION, Pixels, prepare, upright
from engine.data.source import Source
from engine.environment import usable_cores
from engine.errors import first_line
from engine.progress import Report
from engine.protocol import SkippedFile

Result = TypeVar("Result")

_AHEAD = 256  # pictures in the hands of the threads, so that they have work while rows are written
_WAIT_POLL = 0.1  # seconds between looks at another run that prepares the same pictures


class PictureStore:
    """The pictures of a run in their order, as uint8 (height, width, 3)."""

    def __init__(self, space: Space, keys: Keys) -> None:
        self._space = space
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Pixels:
        return self._space.read(self._keys[index : index + 1])[0]


class Prepared(NamedTuple):
    """``readable``: positions in the source; ``keys``: the content key of each; ``skipped``: the others, with why."""

    readable: list[int]
    keys: Keys
    skipped: list[SkippedFile]


def pictures_space(
    root: Path, shorter_side: int, interpolation: str, data: str, on_problem: Callable[[str, str], None]
) -> Space:
    """The space of all pictures that are prepared in this way; ``data`` names one of the data sets in it."""
    # Another Pillow may bring another decoder and round otherwise.
    identity = digest(f"{VERSION} {PIL.__version__} {shorter_side} {interpolation}".encode())
    about = {"data": data, "pictures": f"{shorter_side} px, {interpolation}"}
    return Space(root, "pictures", identity.hex(), about, on_problem)


def decode_all(
    source: Source, shorter_side: int, interpolation: str, space: Space, files: FileDigests, report: Report
) -> Prepared:
    """See that ``space`` has every picture of ``source`` that can be read; decode those that are missing.

    Where another process is at the same work, wait for it.
    """
    total = len(source.pictures)
    work = "\n".join(picture.key for picture in source.pictures) + (str(source.file(0)) if source.file else "")
    already = len(space)
    while True:
        with space.filling(work.encode()) as mine:
            if mine:
                return _decode_missing(source, shorter_side, interpolation, space, files, report)
        time.sleep(_WAIT_POLL)
        space.refresh()
        report("data", min(len(space) - already, total - 1), total, "pictures")


def _decode_missing(
    source: Source, shorter_side: int, interpolation: str, space: Space, files: FileDigests, report: Report
) -> Prepared:
    total = len(source.pictures)
    skipped: list[SkippedFile] = []

    def work(index: int) -> tuple[bytes, Pixels | None] | str:
        try:
            key, image = _open(source, index, files)
            return key, None if key in space else prepare(image, shorter_side, interpolation)
        except Exception as error:  # PIL's plugins raise nearly anything for a damaged file
            return first_line(error)

    keys = _unchanged(source, space, files)
    missing = [index for index in range(total) if index not in keys]
    try:
        for done, (index, result) in enumerate(_in_threads(work, missing), len(keys) + 1):
            if isinstance(result, str):
                skipped.append(SkippedFile(path=source.pictures[index].key, reason=result))
            else:
                key, pixels = result
                keys[index] = key
                if pixels is not None:
                    space.append(as_keys([key]), [pixels])
            report("data", done, total, "pictures")
    finally:
        files.save()
    if not missing:
        report("data", total, total, "pictures")
    readable = sorted(keys)
    return Prepared(readable, as_keys([keys[index] for index in readable]), skipped)


def _unchanged(source: Source, space: Space, files: FileDigests) -> dict[int, bytes]:
    """Keys of the pictures that are in ``space`` already and whose files need not be read to know that."""
    if source.file is None:
        return {}
    found = {index: files.look(source.file(index)) for index in range(len(source.pictures))}
    return {index: key for index, key in found.items() if key is not None and key in space}


def _open(source: Source, index: int, files: FileDigests) -> tuple[bytes, Image.Image]:
    """A picture's content key and the picture, from the same bytes."""
    if source.file is None:
        image = upright(source.open(index))
        return digest(image.mode.encode(), repr(image.size).encode(), image.tobytes()), image
    key, content = files.read(source.file(index))
    return key, Image.open(io.BytesIO(content))


def memory_budget(cache_gb: float) -> int:
    """Bytes for caches: what the config says, or a quarter of the memory that is free now."""
    return int(cache_gb * 2**30) if cache_gb else psutil.virtual_memory().available // 4


def _in_threads(work: Callable[[int], Result], items: Sequence[int]) -> Iterator[tuple[int, Result]]:
    """Results in order. PIL decodes and resizes outside the interpreter's lock, so threads are enough."""
    waiting: deque[tuple[int, Future[Result]]] = deque()
    with ThreadPoolExecutor(usable_cores()) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > _AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
