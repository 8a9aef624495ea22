"""How many images go through the network at once: as many as memory has room for, found out by trying.

What fits is remembered in the cache's folder for the same device, network, precision and freeze plan.
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

from engine.cache.eviction import FITS, cache_root, private_folder
from engine.errors import TrainingFailed, first_line
from engine.files.atomic import write_atomically
from engine.system.devices import device_name
from engine.warning_codes import Warn

_MOST = 1000  # sizes remembered
_SAID = (  # by devices and libraries that have an exception of their own only in part
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
_WHAT = {"train": "batches that train", "eval": "batches that are evaluated", "prefix": "batches of frozen layers"}


class Place(NamedTuple):
    """What decides about the memory that an image takes, besides the freeze plan."""

    model: str
    image_size: int
    precision: str
    frozen_precision: str
    device: torch.device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of a library means that the device's memory is too small for what it was given."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID)


class Fits:
    """The number of images at once that fitted, by what is done with them: "train", "eval" or "prefix"."""

    def __init__(self, place: Place, tell: Warn) -> None:
        """``tell`` takes a warning's code and message."""
        self._place = place
        self._tell = tell
        self._plan: list[str] = []
        self._sizes: dict[str, int] = {}
        self._told: set[str] = set()

    def use(self, rules: Sequence[str]) -> None:
        """Take what is remembered for another freeze plan."""
        self._plan = list(rules)
        known = _load()
        self._sizes = {kind: size for kind in _WHAT if (size := known.get(self._key(kind)))}
        self._told.clear()

    def parts(self, kind: str, count: int) -> list[slice]:
        """``count`` images in as few parts as fit, of nearly one size."""
        size = min(self._sizes.get(kind, count), count) or 1
        number = math.ceil(count / size)
        if number > 1 and kind not in self._told:
            self._told.add(kind)
            self._tell(
                "out_of_memory",
                f"{_WHAT[kind]} go through the network in parts of {size} images, all that fitted into memory in "
                "an earlier run; results are those of whole batches, `tltui cache clear` forgets the size",
            )
        ends = [count * part // number for part in range(number + 1)]
        return [slice(start, end) for start, end in pairwise(ends)]

    def size(self, kind: str, wanted: int) -> int:
        """``wanted``, or fewer where fewer fit."""
        return min(wanted, self._sizes.get(kind, wanted))

    def shrink(self, kind: str, tried: int, error: Exception, least: int = 1) -> int:
        """The size to try after ``tried`` images were too many; remembered and told.

        Raises ``error`` where it is about something else, and TrainingFailed where ``least`` do not fit.
        """
        if not is_out_of_memory(error):
            raise error
        said, device = first_line(error), self._place.device
        if tried <= least:
            at_a_time = "one image at a time does" if least == 1 else f"{least} images at a time do"
            raise TrainingFailed(
                f"{at_a_time} not fit into the memory of {device} ({said}); freeze more layers, lower "
                "data.image_size, or choose a smaller model.name"
            ) from None
        size = max(least, tried // 2)
        self._sizes[kind] = size
        self._told.add(kind)
        self._remember(kind, size)
        self._tell(
            "out_of_memory",
            f"{tried} images at a time do not fit into the memory of {device} ({said}); {_WHAT[kind]} now go through "
            f"in parts of {size}; results are those of whole batches",
        )
        return size

    def _key(self, kind: str) -> str:
        model, side, precision, frozen_precision, device = self._place
        if device.type == "cuda":
            memory = torch.cuda.get_device_properties(device).total_memory
        else:
            memory = psutil.virtual_memory().total
        return json.dumps([device_name(device), memory, model, side, precision, frozen_precision, self._plan, kind])

    def _remember(self, kind: str, size: int) -> None:
        known = _load()
        known.pop(self._key(kind), None)
        known[self._key(kind)] = size
        with suppress(OSError):  # found out again next time
            write_atomically(
                private_folder(cache_root()) / FITS, json.dumps(dict(list(known.items())[-_MOST:])).encode()
            )


def release(device: torch.device) -> None:
    """Give what was freed back to the device, so that it can be had in other pieces."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _load() -> dict[str, int]:
    try:
        return msgspec.json.decode((cache_root() / FITS).read_bytes(), type=dict[str, int])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
