"""Batches for training and evaluation."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from engine.data.pictures import centre_crop
from engine.data.store import PictureStore

# (epoch, position in the store): the epoch seeds the augmentation, so that it depends on neither the number of
# workers nor on what was drawn before.
Draw = tuple[int, int]
Batch = tuple[torch.Tensor, torch.Tensor]  # uint8 (N, 3, S, S), int64 (N,)


class PictureDataset(Dataset[Batch]):
    """Pictures of ``store`` at ``side`` pixels, a whole batch at a time: augmented, or their centre."""

    def __init__(self, store: PictureStore, labels: Sequence[int], side: int, augment: str, seed: int) -> None:
        self._store = store
        self._labels = torch.tensor(labels)
        self._side = side
        self._augment = augmentation(augment, side)
        self._seed = seed

    def __getitems__(self, draws: list[Draw]) -> Batch:
        """Called by DataLoader with all draws of a batch."""
        pictures = torch.stack([self._picture(*draw) for draw in draws])
        return pictures, self._labels[[index for _, index in draws]]

    def _picture(self, epoch: int, index: int) -> torch.Tensor:
        pixels = self._store[index]
        if self._augment is None or epoch == 0:
            return torch.from_numpy(np.ascontiguousarray(centre_crop(pixels, self._side))).permute(2, 0, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence([self._seed, epoch, index]).generate_state(1)[0]))
            return self._augment(torch.from_numpy(pixels).permute(2, 0, 1))


def augmentation(name: str, side: int) -> v2.Transform | None:
    """Random changes to a uint8 picture (3, H, W) that end at ``side`` pixels; None for "none".

    "trivial": TrivialAugmentWide (Müller and Hutter 2021, 2103.10158).
    """
    crop = v2.RandomResizedCrop(side, scale=(0.35, 1.0), antialias=True)
    flip = v2.RandomHorizontalFlip()
    match name:
        case "flip":
            return v2.Compose([v2.CenterCrop(side), flip])
        case "standard":
            return v2.Compose([crop, flip, v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)])
        case "trivial":
            return v2.Compose([crop, flip, v2.TrivialAugmentWide()])
        case _:
            return None


def batch_count(pictures: int, batch_size: int) -> int:
    """Steps that an epoch takes."""
    return math.ceil(pictures / batch_size)


class ShuffledBatches:
    """Training batches in an order that depends on the seed and the epoch alone.

    Batches differ in size by one at most, so that none is left too small for batch statistics.
    """

    def __init__(self, indices: Sequence[int], batch_size: int, seed: int) -> None:
        self._indices = np.asarray(indices)
        self._count = batch_count(len(indices), batch_size)
        self._seed = seed
        self.epoch = 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[Draw]]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(self._indices)
        for part in np.array_split(order, self._count):
            yield [(self.epoch, int(index)) for index in part]


def training_loader(dataset: PictureDataset, batches: ShuffledBatches, workers: int) -> DataLoader[Batch]:
    """Batches of one epoch after another; set ``batches.epoch`` before each."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=_as_it_is,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_take_signals_as_usual,
        multiprocessing_context="fork" if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def evaluation_loader(dataset: PictureDataset, indices: Sequence[int], batch_size: int) -> DataLoader[Batch]:
    """The pictures' centres, in order."""
    draws = [[(0, i) for i in indices[at : at + batch_size]] for at in range(0, len(indices), batch_size)]
    return DataLoader(dataset, batch_sampler=draws, collate_fn=_as_it_is, pin_memory=torch.cuda.is_available())


def choose_workers(wanted: int, augment: str) -> int:
    """Processes that augment; 0 where batches only have to be copied together or processes can't share memory."""
    if wanted >= 0:
        return wanted
    if augment in ("none", "flip") or "fork" not in multiprocessing.get_all_start_methods():
        return 0
    return min(max((os.cpu_count() or 1) - 1, 1), 8)


def _take_signals_as_usual(_worker: int) -> None:
    """A worker inherits the engine's handlers, which would keep it from being ended."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401 (DataLoader knows no datasets that give whole batches)
    return batch
