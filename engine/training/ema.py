"""The exponential moving average of the weights in training (Polyak and Juditsky 1992), with timm's warm-up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from engine.models.freezing import Freezing

_WARMUP_POWER = 2 / 3  # timm.utils.ModelEmaV3's default


class WeightAverage:
    """Averages the trainable parameters and the batch statistics that move; frozen tensors are their own average.

    ``values``: the averages by name, empty without averaging. A tensor that begins to train begins with its own value.
    """

    def __init__(self, decay: float) -> None:
        """``decay``: the share of the average that stays in each step, 0 … 1; 0: no averaging."""
        self._decay = decay
        self._live: dict[str, torch.Tensor] = {}
        self.values: dict[str, torch.Tensor] = {}

    def track(self, freezing: Freezing) -> None:
        """Average what the freeze plan lets train from now on; what it freezes leaves the average."""
        if not self._decay:
            return
        moving = {id(buffer) for layer in freezing.moving for buffer in layer.buffers(recurse=False)}
        statistics = {name: buffer for name, buffer in freezing.module.named_buffers() if id(buffer) in moving}
        self._live = freezing.trainable | statistics
        self.values = {name: self.values.get(name, tensor.detach().clone()) for name, tensor in self._live.items()}

    def restore(self, values: Mapping[str, torch.Tensor]) -> None:
        """Restore the averages of a checkpoint, which had the same freeze plan."""
        for name, value in values.items():
            if name in self.values:
                self.values[name].copy_(value)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the averages towards the values after ``step`` (from 1). Values that are not finite have no influence.

        Parameters never are, but a step that is skipped may leave such batch statistics, which are restored later.
        """
        averages, values = [], []
        for name, average in self.values.items():
            live = self._live[name]
            if not average.is_floating_point():
                average.copy_(live)
                continue
            averages.append(average)
            values.append(live if live.requires_grad else torch.where(live.isfinite(), live, average))
        if averages:
            torch._foreach_lerp_(averages, values, 1 - decay_at(step, self._decay))  # pyright: ignore[reportPrivateImportUsage]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the network have the averages in place of its own values."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, live in self._live.items():
            live.data, self.values[name] = self.values[name], live.data


def decay_at(step: int, decay: float) -> float:
    """The decay at a step (from 1): it rises from 0 to ``decay``, so that first weights are soon forgotten."""
    return min(1 - step**-_WARMUP_POWER, decay)
