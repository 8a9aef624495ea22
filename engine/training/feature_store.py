"""Stores features of a frozen prefix: in memory up to a budget, and in the feature cache on disk for later runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from engine.cache.file_digests import as_keys
from engine.cache.space import CacheSpace
from engine.models.frozen_prefix import Features


class FeatureStore:
    """Features at one boundary, by the names of the views that they are computed from."""

    def __init__(self, example: Features, space: CacheSpace, budget: int, expected: int) -> None:
        """``example``: the features of one image. ``budget``: bytes of memory on its device. ``expected``: images."""
        self._space = space
        self._layouts = [_Layout(tensor) for tensor in example]
        self._bytes_each = feature_bytes(example)
        device = example[0].device
        room = min(budget // self._bytes_each, expected)
        self._memory = [
            torch.empty((room, *layout.shape), dtype=layout.dtype, device=device) for layout in self._layouts
        ]
        self._room = room
        self._device = device
        self._known: set[bytes] = set()  # names of all stored features
        self._slots: dict[bytes, int] = {}  # of those in memory

    def missing(self, names: Sequence[bytes]) -> list[int]:
        """Positions in ``names`` of the views whose features are not stored."""
        unknown = [name for name in names if name not in self._known]
        if unknown:
            found = self._space.present(as_keys(unknown))
            self._known.update(name for name, present in zip(unknown, found, strict=True) if present)
        return [at for at, name in enumerate(names) if name not in self._known]

    def put(self, names: Sequence[bytes], features: Features) -> None:
        """Store the features of the views ``names``, as far as there is room."""
        flat = [layout.flat(tensor) for layout, tensor in zip(self._layouts, features, strict=True)]
        self._store_in_memory(names, flat)
        as_bytes = torch.cat([tensor.cpu().reshape(len(names), -1).view(torch.uint8) for tensor in flat], 1)
        self._space.append(as_keys(list(names)), list(as_bytes.numpy()))
        self._known.update(name for name in names if name in self._slots or name in self._space)

    def publish(self) -> None:
        """Make the computed features visible to other runs."""
        self._space.publish()

    def close(self) -> None:
        """Publish, and close the files."""
        self._space.close()

    def refresh(self) -> None:
        """Pick up features that other runs have published meanwhile."""
        self._space.refresh()

    def get(self, names: Sequence[bytes]) -> Features:
        """The features of the views ``names``. Raises KeyError if some are not stored any more."""
        absent = [name for name in dict.fromkeys(names) if name not in self._slots]
        if absent:
            loaded = self._load(absent)
            self._store_in_memory(absent, loaded)
            absent = [name for name in absent if name not in self._slots]
        if not absent:
            slots = on_device([self._slots[name] for name in names], self._device)
            return self._shaped([memory.index_select(0, slots) for memory in self._memory])
        return self._shaped(self._load(names))

    def free_memory(self) -> None:
        """Keep the features on disk only."""
        self._space.publish()
        self._room, self._memory, self._slots = 0, [memory[:0] for memory in self._memory], {}

    @property
    def stored_bytes(self) -> int:
        """The size of all stored features, in bytes."""
        return self._bytes_each * len(self._known)

    def _store_in_memory(self, names: Sequence[bytes], flat: list[torch.Tensor]) -> None:
        new = [at for at, name in enumerate(names) if name not in self._slots][: self._room - len(self._slots)]
        if not new:
            return
        start = len(self._slots)
        for memory, tensor in zip(self._memory, flat, strict=True):
            memory[start : start + len(new)] = tensor[new] if len(new) < len(tensor) else tensor
        self._slots.update({names[at]: start + offset for offset, at in enumerate(new)})

    def _load(self, names: Sequence[bytes]) -> list[torch.Tensor]:
        try:
            stacked = torch.from_numpy(np.stack(self._space.read(as_keys(list(names)))))
        except KeyError as lost:
            for name in lost.args:
                self._known.discard(name)
            raise
        ends = np.cumsum([layout.bytes for layout in self._layouts])
        parts = [stacked[:, end - layout.bytes : end] for layout, end in zip(self._layouts, ends, strict=True)]
        return [
            part.contiguous().view(layout.dtype).reshape(len(names), *layout.shape).to(self._device)
            for layout, part in zip(self._layouts, parts, strict=True)
        ]

    def _shaped(self, flat: list[torch.Tensor]) -> Features:
        return tuple(layout.shaped(tensor) for layout, tensor in zip(self._layouts, flat, strict=True))


def on_device(numbers: list[int], device: torch.device) -> torch.Tensor:
    """Numbers as a tensor, copied without waiting for the device."""
    on_host = torch.tensor(numbers)
    if device.type == "cuda":
        return on_host.pin_memory().to(device, non_blocking=True)
    return on_host.to(device)


def feature_bytes(example: Features) -> int:
    """The size of the features of one image."""
    return sum(_Layout(tensor).bytes for tensor in example)


class _Layout:
    """Memory layout of one boundary tensor: feature maps are channels-last, as convolutions read them."""

    def __init__(self, example: torch.Tensor) -> None:
        self._is_map = example.ndim == 4
        self.shape = tuple(self.flat(example).shape[1:])
        self.dtype = example.dtype
        self.bytes = math.prod(self.shape) * example.dtype.itemsize

    def flat(self, tensor: torch.Tensor) -> torch.Tensor:
        return (tensor.permute(0, 2, 3, 1) if self._is_map else tensor).contiguous()

    def shaped(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.permute(0, 3, 1, 2) if self._is_map else tensor
