"""What a frozen prefix computed, kept: in memory up to a budget, and in the cache's files for the runs that follow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from engine.cache.file_digests import as_keys
from engine.cache.space import Space
from engine.models.frozen_prefix import Rows


class RowStore:
    """Rows of a boundary by the names of the views that they were computed from."""

    def __init__(self, like: Rows, space: Space, budget: int, expected: int) -> None:
        """``like``: one row; ``budget``: bytes of memory on its device; ``expected``: how many rows there may be."""
        self._space = space
        self._kept = [_Layout(tensor) for tensor in like]
        self._row_bytes = row_bytes(like)
        device = like[0].device
        room = min(budget // self._row_bytes, expected)
        self._memory = [torch.empty((room, *layout.shape), dtype=layout.dtype, device=device) for layout in self._kept]
        self._room = room
        self._device = device
        self._known: set[bytes] = set()  # names of all that are kept
        self._place: dict[bytes, int] = {}  # of those among them that are in memory

    def missing(self, names: Sequence[bytes]) -> list[int]:
        """Positions in ``names`` of the rows that are not kept."""
        unknown = [name for name in names if name not in self._known]
        if unknown:
            here = self._space.present(as_keys(unknown))
            self._known.update(name for name, present in zip(unknown, here, strict=True) if present)
        return [at for at, name in enumerate(names) if name not in self._known]

    def put(self, names: Sequence[bytes], rows: Rows) -> None:
        """Keep ``rows``, one for each of ``names``, those for which there is room."""
        flat = [layout.flat(tensor) for layout, tensor in zip(self._kept, rows, strict=True)]
        self._remember(names, flat)
        as_bytes = torch.cat([tensor.cpu().reshape(len(names), -1).view(torch.uint8) for tensor in flat], 1)
        self._space.append(as_keys(list(names)), list(as_bytes.numpy()))
        self._known.update(name for name in names if name in self._place or name in self._space)

    def publish(self) -> None:
        """Let other runs see what was computed here."""
        self._space.publish()

    def close(self) -> None:
        """Publish, and let go of the files."""
        self._space.close()

    def refresh(self) -> None:
        """See what other runs have computed meanwhile."""
        self._space.refresh()

    def get(self, names: Sequence[bytes]) -> Rows:
        """The rows called ``names``. Raises KeyError where one is not kept, or no more."""
        absent = [name for name in dict.fromkeys(names) if name not in self._place]
        if absent:
            loaded = self._load(absent)
            self._remember(absent, loaded)
            absent = [name for name in absent if name not in self._place]
        if not absent:
            places = on_device([self._place[name] for name in names], self._device)
            return self._shaped([memory.index_select(0, places) for memory in self._memory])
        return self._shaped(self._load(names))

    def leave_memory(self) -> None:
        """Keep rows in the cache's files alone."""
        self._space.publish()
        self._room, self._memory, self._place = 0, [memory[:0] for memory in self._memory], {}

    @property
    def bytes(self) -> int:
        """What is kept, in bytes."""
        return self._row_bytes * len(self._known)

    def _remember(self, names: Sequence[bytes], flat: list[torch.Tensor]) -> None:
        new = [at for at, name in enumerate(names) if name not in self._place][: self._room - len(self._place)]
        if not new:
            return
        start = len(self._place)
        for memory, tensor in zip(self._memory, flat, strict=True):
            memory[start : start + len(new)] = tensor[new] if len(new) < len(tensor) else tensor
        self._place.update({names[at]: start + offset for offset, at in enumerate(new)})

    def _load(self, names: Sequence[bytes]) -> list[torch.Tensor]:
        try:
            stacked = torch.from_numpy(np.stack(self._space.read(as_keys(list(names)))))
        except KeyError as lost:
            for name in lost.args:
                self._known.discard(name)
            raise
        ends = np.cumsum([layout.bytes for layout in self._kept])
        parts = [stacked[:, end - layout.bytes : end] for layout, end in zip(self._kept, ends, strict=True)]
        return [
            part.contiguous().view(layout.dtype).reshape(len(names), *layout.shape).to(self._device)
            for layout, part in zip(self._kept, parts, strict=True)
        ]

    def _shaped(self, flat: list[torch.Tensor]) -> Rows:
        return tuple(layout.shaped(tensor) for layout, tensor in zip(self._kept, flat, strict=True))


def on_device(numbers: list[int], device: torch.device) -> torch.Tensor:
    """Numbers as a tensor, without waiting for what the device is at."""
    numbers_here = torch.tensor(numbers)
    if device.type == "cuda":
        return numbers_here.pin_memory().to(device, non_blocking=True)
    return numbers_here.to(device)


def row_bytes(like: Rows) -> int:
    """The size of one row."""
    return sum(_Layout(tensor).bytes for tensor in like)


class _Layout:
    """How one boundary tensor lies in memory: feature maps with their channels last, as convolutions read them."""

    def __init__(self, like: torch.Tensor) -> None:
        self._is_map = like.ndim == 4
        self.shape = tuple(self.flat(like).shape[1:])
        self.dtype = like.dtype
        self.bytes = math.prod(self.shape) * like.dtype.itemsize

    def flat(self, tensor: torch.Tensor) -> torch.Tensor:
        return (tensor.permute(0, 2, 3, 1) if self._is_map else tensor).contiguous()

    def shaped(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.permute(0, 3, 1, 2) if self._is_map else tensor
