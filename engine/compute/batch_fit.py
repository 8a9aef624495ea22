"""Finds the largest batch that fits into memory, by halving it after each out-of-memory error.

The size is saved in the cache folder by device, network, precision and freeze plan.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

import msgspec
import psutil
import torch

from engine.cache.folder import FITS, cache_root, private_folder
from engine.errors import TrainingFailed, first_line
from engine.files.atomic import write_atomically
from engine.system.devices import device_name
from engine.warning_codes import Warn

_MOST = 1000  # saved sizes
_OUT_OF_MEMORY = (  # messages of libraries that raise a plain RuntimeError
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "unable to find a valid cudnn algorithm",
    "unable to find an engine to execute this computation",
    "cudnn_status_not_supported",
    "cudnn_status_alloc_failed",
    "cublas_status_alloc_failed",
)
_BATCHES = {"train": "training batches", "eval": "evaluation batches", "prefix": "batches of frozen layers"}


class Place(NamedTuple):
    """What the memory per image depends on, besides the freeze plan."""

    model: str
    image_size: int
    precision: str
    frozen_precision: str
    device: torch.device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library's error means that the device is out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


class Fits:
    """The largest batch that fits, by use: "train", "eval" or "prefix"."""

    def __init__(self, place: Place, warn: Warn) -> None:
        """``warn`` takes a warning's code and message."""
        self._place = place
        self._warn = warn
        self._plan: list[str] = []
        self._sizes: dict[str, int] = {}
        self._warned: set[str] = set()

    def use(self, rules: Sequence[str]) -> None:
        """Load the saved sizes for a freeze plan."""
        self._plan = list(rules)
        known = _load()
        self._sizes = {kind: size for kind in _BATCHES if (size := known.get(self._key(kind)))}
        self._warned.clear()

    def parts(self, kind: str, count: int, least: int = 1) -> list[slice]:
        """Split ``count`` images into as few parts as fit, of nearly equal size and of ``least`` images or more."""
        size = min(self._sizes.get(kind, count), count) or 1
        number = max(min(math.ceil(count / size), count // least), 1)
        if number > 1 and kind not in self._warned:
            self._warned.add(kind)
            self._warn(
                "out_of_memory",
                f"{_BATCHES[kind]} go through the network in parts of {size} images, the most that fitted into memory "
                "in an earlier run; results are those of whole batches; `tltui cache clear` resets the size",
            )
        ends = [count * part // number for part in range(number + 1)]
        return [slice(start, end) for start, end in pairwise(ends)]

    def size(self, kind: str, wanted: int) -> int:
        """``wanted``, or the largest batch that fits if it is smaller."""
        return min(wanted, self._sizes.get(kind, wanted))

    def shrink(self, kind: str, tried: int, error: Exception, least: int = 1) -> int:
        """The size to try after ``tried`` images did not fit; saved, with a warning.

        Raises ``error`` if it is not an out-of-memory error, and TrainingFailed where two parts of
        ``least`` images would be more.
        """
        if not is_out_of_memory(error):
            raise error
        reason, device = first_line(error), self._place.device
        if tried < 2 * least:
            at_a_time = "one image at a time does" if tried == 1 else f"{tried} images at a time do"
            raise TrainingFailed(
                f"{at_a_time} not fit into the memory of {device} ({reason}); freeze more layers, lower "
                "data.image_size, or choose a smaller model.name"
            ) from None
        size = max(least, tried // 2)
        self._sizes[kind] = size
        self._warned.add(kind)
        self._save(kind, size)
        self._warn(
            "out_of_memory",
            f"{tried} images at a time do not fit into the memory of {device} ({reason}); {_BATCHES[kind]} now go "
            f"through in parts of {size}; results are those of whole batches",
        )
        return size

    def _key(self, kind: str) -> str:
        model, side, precision, frozen_precision, device = self._place
        if device.type == "cuda":
            memory = torch.cuda.get_device_properties(device).total_memory
        else:
            memory = psutil.virtual_memory().total
        return json.dumps([device_name(device), memory, model, side, precision, frozen_precision, self._plan, kind])

    def _save(self, kind: str, size: int) -> None:
        known = _load()
        known.pop(self._key(kind), None)
        known[self._key(kind)] = size
        with suppress(OSError):  # the next run finds it again
            write_atomically(
                private_folder(cache_root()) / FITS, json.dumps(dict(list(known.items())[-_MOST:])).encode()
            )


def release(device: torch.device) -> None:
    """Return freed memory to the device, so that it can allocate blocks of other sizes."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _load() -> dict[str, int]:
    try:
        return msgspec.json.decode((cache_root() / FITS).read_bytes(), type=dict[str, int])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
