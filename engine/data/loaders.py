"""Augmentation, batches, and data loaders for training and evaluation."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from engine.data.augmented_views import CENTRE, View, Views
from engine.data.image import Pixels, centre_crop
from engine.data.image_cache import ImageCache
from engine.models.preprocessing import Preprocessing
from engine.system.cpu import usable_cores
from engine.system.process_signals import blocked, leave_with_parent


class ImageDataset(Dataset[torch.Tensor]):
    """Network inputs made from the image cache, in any views, one batch at a time."""

    def __init__(self, images: ImageCache, keys: Sequence[bytes], side: int, views: Views) -> None:
        """``keys``: the content key of each image; ``side``: the input size in pixels."""
        self._images = images
        self._keys = keys
        self._side = side
        self._views = views
        self._augment = augmentation(views.augment, side)

    def __getitems__(self, views: list[View]) -> torch.Tensor:
        """uint8 (N, C, side, side). DataLoader calls it with all views of a batch."""
        return torch.stack([self._image(*view) for view in views])

    def _image(self, index: int, number: int) -> torch.Tensor:
        pixels = self._images[index]
        if self._augment is None or number == CENTRE:
            return centre_view(pixels, self._side)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._views.random_seed(self._keys[index], number))
            return self._augment(torch.from_numpy(pixels).permute(2, 0, 1))


def centre_view(pixels: Pixels, side: int) -> torch.Tensor:
    """The unaugmented network input of a decoded image: uint8 (C, side, side)."""
    return torch.from_numpy(np.ascontiguousarray(centre_crop(pixels, side))).permute(2, 0, 1)


def augmentation(name: str, side: int) -> v2.Transform | None:
    """Random transforms of a uint8 image (C, H, W) to (C, side, side); None for "none".

    "trivial": TrivialAugmentWide (Müller and Hutter 2021, 2103.10158).
    """
    crop = v2.RandomResizedCrop(side, scale=(0.35, 1.0), antialias=True)
    flip = v2.RandomHorizontalFlip()
    match name:
        case "flip":  # its only view besides the centre
            return v2.Compose([v2.CenterCrop(side), v2.RandomHorizontalFlip(1.0)])
        case "standard":
            return v2.Compose([crop, flip, _OnColours(v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2))])
        case "trivial":
            return v2.Compose([crop, flip, v2.TrivialAugmentWide()])
        case _:
            return None


class _OnColours(nn.Module):
    """Applies a transform to the grey or RGB channels of an image (C, H, W), and leaves a further channel as it is."""

    def __init__(self, transform: v2.Transform) -> None:
        super().__init__()
        self._transform = transform

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        colours = len(image) - (len(image) + 1) % 2
        return torch.cat([self._transform(image[:colours]), image[colours:]])


def batch_count(images: int, batch_size: int) -> int:
    """Batches of an evaluation."""
    return math.ceil(images / batch_size)


def training_batch_count(images: int, batch_size: int) -> int:
    """Batches of nearly equal size to train on, none of them a single image unless ``batch_size`` is 1.

    With batches of two and an odd number of images, one batch has three: a single image has no batch statistics.
    """
    count = batch_count(images, batch_size)
    leaves_one = batch_size > 1 and 1 < images < 2 * count
    return count - 1 if leaves_one else count


def micro_batches(images: int, batch_size: int) -> list[slice]:
    """The parts of ``batch_size`` images that go through the network together, of nearly equal size."""
    number = training_batch_count(images, batch_size)
    ends = [images * part // number for part in range(number + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]


def rank_share(batch: Sequence[int], rank: int, count: int) -> list[int]:
    """The positions in the global ``batch`` that belong to ``rank``'s local batch, in order; ``count``: world size.

    Local batches differ in size by at most one. An image mostly goes to the same rank in each epoch, so that each
    rank caches the features of its own images only.
    """
    ends = [len(batch) * part // count for part in range(count + 1)]
    sizes = [end - start for start, end in pairwise(ends)]
    parts: list[list[int]] = [[] for _ in range(count)]
    left = []
    for at, image in enumerate(batch):
        home = image % count
        (parts[home] if len(parts[home]) < sizes[home] else left).append(at)
    for part, size in zip(parts, sizes, strict=True):
        while len(part) < size:
            part.append(left.pop(0))
    return sorted(parts[rank])


def image_loader(dataset: ImageDataset, batches: Sequence[list[View]], workers: int) -> DataLoader[torch.Tensor]:
    """Loads batches of uint8 images (N, C, S, S); ``workers``: processes that prefetch them."""
    workers = min(workers, len(batches))
    return _ImageLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=_as_it_is,
        num_workers=workers,
        worker_init_fn=partial(_begin_worker, os.getpid()),
        multiprocessing_context="fork" if workers else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # the global generator would shift dropout's random numbers with the cache's state
    )


class Normalize:
    """Moves uint8 images (N, C, S, S) to the device and normalizes them by the pretrained mean and std."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self._device = device
        self._mean = torch.tensor(preprocessing.mean, device=device).view(1, -1, 1, 1) * 255
        self._std = torch.tensor(preprocessing.std, device=device).view(1, -1, 1, 1) * 255

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, S, S) uint8 → float32, channels last."""
        moved = images.to(self._device, non_blocking=True).to(torch.float32, memory_format=torch.channels_last)
        return (moved - self._mean) / self._std


def choose_workers(wanted: int, augment: str) -> int:
    """The number of worker processes; 0 without random augmentation, or where processes can't fork."""
    if wanted >= 0:
        return wanted
    if augment in ("none", "flip") or "fork" not in multiprocessing.get_all_start_methods():
        return 0
    return min(max(usable_cores() - 1, 1), 8)


class _ImageLoader(DataLoader[torch.Tensor]):
    """A DataLoader whose workers ignore the signals that stop a run: the engine ends them."""

    def __iter__(self) -> Any:  # noqa: ANN401 (PyTorch's own iterator has no public type)
        with blocked():
            return super().__iter__()


def _begin_worker(engine: int, _worker: int) -> None:
    """Ends this worker when the engine process ends, even in the middle of a batch."""
    leave_with_parent(engine, lambda: os._exit(1))


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401 (DataLoader has no type for datasets that return batches)
    return batch
