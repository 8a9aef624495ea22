"""Reads and decodes images on all cores."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import TypeVar

from PIL import Image

from engine.cache.file_digests import digest
from engine.data.image import Pixels, open_image, prepare, upright
from engine.data.source import Source
from engine.files.stored_file import LARGEST_FILE, StoredFile
from engine.models.preprocessing import Preprocessing
from engine.system.cpu import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 256  # images queued for the threads, so that they stay busy while rows are written
# Larger images (in pixels) are decoded one at a time to bound peak memory.
_LARGE = 2**25
_one_large_image = threading.Lock()


def open_sample(
    source: Source, index: int, read: Callable[[StoredFile, int], tuple[bytes, bytes]]
) -> tuple[bytes, Image.Image]:
    """The content key and the image of one sample, both from the bytes that ``read(file, most)`` returns.

    Raises OSError and whatever Pillow raises.
    """
    if source.file is None:
        image = upright(source.open(index))
        return digest(image.mode.encode(), repr(image.size).encode(), image.tobytes()), image
    key, content = read(source.file(index), LARGEST_FILE)
    return key, open_image(content)


def read_file(file: StoredFile, most: int = LARGEST_FILE) -> tuple[bytes, bytes]:
    """A file's content key and its bytes. Raises OSError, also for more than ``most`` bytes."""
    content = file.read(most).content
    return digest(content), content


def decode(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """An image's pixels before the crop. Thread-safe; decodes very large images one at a time."""
    with _one_large_image if image.width * image.height > _LARGE else nullcontext():
        return prepare(
            image,
            preprocessing.resize_size,
            preprocessing.interpolation,
            preprocessing.channels,
            preprocessing.value_range,
        )


def map_in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result]]:
    """Yields each item with its result, in order. Pillow releases the GIL, so threads suffice."""
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
