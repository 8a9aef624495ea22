"""Mixup and cutmix: training on mixtures of two images and of their targets."""

from __future__ import annotations

import numpy as np
import torch
from torchvision.transforms import v2

from engine.compute.loss import class_probabilities
from engine.config.schema import TrainConfig


class Mixing:
    """Mixes each image of a batch with its neighbour, by mixup (Zhang et al. 2018, 1710.09412: the pixels' weighted
    mean) or cutmix (Yun et al. 2019, 1905.04899: a rectangle of the other image); of both, one is drawn per batch.
    """

    def __init__(self, train: TrainConfig, classes: int) -> None:
        """``classes``: of targets that are classes."""
        self._seed = train.seed
        self._classes = classes
        chosen = [kind(alpha=alpha) for kind, alpha in ((v2.MixUp, train.mixup), (v2.CutMix, train.cutmix)) if alpha]
        self._transform = v2.RandomChoice(chosen)

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, position: tuple[int, int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mixed images (N, C, S, S) and soft targets, float32 (N, outputs), from targets as the task encodes them.

        ``position``: epoch, step in it and micro-batch. The mixture depends only on it and on the seed, so that a
        resumed run and all processes mix alike.
        """
        seed = np.random.SeedSequence([self._seed, *position]).generate_state(1, np.uint64)[0] >> 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed))
            return self._transform(images, class_probabilities(targets, self._classes))
