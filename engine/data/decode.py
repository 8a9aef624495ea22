"""Images from files to pixels, on all cores."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

from PIL import Image

from engine.cache.file_digests import digest
from engine.data.image import Pixels, open_image, prepare, upright
from engine.data.source import Source
from engine.files.safe_open import open_regular
from engine.system.cpu import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST_FILE = 2 * 2**30  # bytes; what Pillow decodes at all fits, also uncompressed
_AHEAD = 256  # images in the hands of the threads, so that they have work while rows are written
# Pixels from which on images are decoded one at a time, so that not all cores need such memory at once.
_LARGE = 2**25
_large_ones_alone = threading.Lock()


def open_one(source: Source, index: int, read: Callable[[Path, int], tuple[bytes, bytes]]) -> tuple[bytes, Image.Image]:
    """An image's content key and the image, from the same bytes, which ``read(path, most)`` gives.

    Raises OSError and whatever PIL raises.
    """
    if source.file is None:
        image = upright(source.open(index))
        return digest(image.mode.encode(), repr(image.size).encode(), image.tobytes()), image
    key, content = read(source.file(index), LARGEST_FILE)
    return key, open_image(content)


def read_file(path: Path, most: int = LARGEST_FILE) -> tuple[bytes, bytes]:
    """A file's content key and its first ``most`` bytes. Raises OSError."""
    with open_regular(path) as file:
        content = file.read(most)
    return digest(content), content


def decode(image: Image.Image, shorter_side: int, interpolation: str) -> Pixels:
    """``prepare``, from several threads at once; those that are very large wait for each other."""
    with _large_ones_alone if image.width * image.height > _LARGE else nullcontext():
        return prepare(image, shorter_side, interpolation)


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result]]:
    """Results in order. PIL decodes and resizes outside the interpreter's lock, so threads are enough."""
    waiting: deque[tuple[Item, Future[Result]]] = deque()
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
