"""Which images an epoch trains on, and in which order: functions of the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from engine.config.schema import TrainConfig
from engine.data.loaders import training_batch_count
from engine.data.prepare import Data

Order = npt.NDArray[np.int64]


def epoch_batches(data: Data, train: TrainConfig, epoch: int, seed: int | None = None) -> list[list[int]]:
    """The training images of each optimizer step in ``epoch`` (from 1), by index. ``seed``: instead of train.seed.

    Batch sizes differ by at most one, so that no last batch is too small for batch statistics.
    """
    random = np.random.default_rng([train.seed if seed is None else seed, epoch])
    members = data.splits["train"]
    if train.sampler == "balanced":
        order = balanced_order(((i, data.task.present(data.samples[i])) for i in members), len(members), random)
    else:
        order = random.permutation(np.asarray(members))
    return [part.tolist() for part in np.array_split(order, training_batch_count(len(members), train.step_size))]


def balanced_order(images: Iterable[tuple[int, Sequence[int]]], count: int, random: np.random.Generator) -> Order:
    """``count`` images, as many of each class; within a class they are drawn with replacement.

    ``images``: each with the classes that it shows. For an image of several classes this is class-aware sampling (Shen,
    Lin and Huang 2016, 1512.05830): each class is drawn equally often, and an image of it may show others, too. Images
    without a class are not drawn.
    """
    by_class: dict[int, list[int]] = {}
    for image, classes in images:
        for of_class in classes:
            by_class.setdefault(of_class, []).append(image)
    draws = np.full(len(by_class), count // len(by_class))
    draws[random.permutation(len(by_class))[: count % len(by_class)]] += 1
    drawn = [random.choice(by_class[at], draw) for at, draw in zip(sorted(by_class), draws, strict=True)]
    return random.permutation(np.concatenate(drawn))
