"""The losses of training for several labels per image: binary cross-entropy and binary focal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from engine.compute.loss import focal_cost, main_logits, with_auxiliary
from engine.compute.task import Outputs
from engine.config.schema import TrainConfig
from engine.config.tasks import TaskSpec

BinaryLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""Fp32 logits (N, labels), targets from 0 to 1, weights of positives (labels,) or None → the mean, a scalar."""


class BinaryCriterion:
    """A loss averaged over images and labels; ``positive_weights`` (labels,) multiply that of positives."""

    def __init__(
        self, loss: BinaryLoss, positive_weights: torch.Tensor | None, label_smoothing: float, aux_weight: float
    ) -> None:
        self._loss = loss
        self._positive_weights = positive_weights
        self._label_smoothing = label_smoothing
        self._aux_weight = aux_weight

    def __call__(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch, an fp32 scalar; ``targets``: float32 (N, labels)."""
        smooth = targets * (1 - self._label_smoothing) + self._label_smoothing / 2
        return with_auxiliary(
            outputs, self._aux_weight, lambda logits: self._loss(logits.float(), smooth, self._positive_weights)
        )

    def weight(self, targets: torch.Tensor) -> torch.Tensor:
        """The number of images, a scalar."""
        return torch.tensor(float(len(targets)), device=targets.device)

    def correct(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """The sum over the images of their share of correct labels at a threshold of 0.5, a scalar."""
        return ((main_logits(outputs).detach() > 0) == (targets > 0.5)).float().mean(1).sum()


def cross_entropy(_spec: TaskSpec, train: TrainConfig, targets: torch.Tensor, aux_weight: float) -> BinaryCriterion:
    """Binary cross-entropy; ``targets``: of the training images."""
    return BinaryCriterion(cross_entropy_mean, _positive_weights(train, targets), train.label_smoothing, aux_weight)


def focal(_spec: TaskSpec, train: TrainConfig, targets: torch.Tensor, aux_weight: float) -> BinaryCriterion:
    """Binary focal loss; ``targets``: of the training images."""
    loss = partial(focal_mean, gamma=train.focal_gamma)
    return BinaryCriterion(loss, _positive_weights(train, targets), train.label_smoothing, aux_weight)


def cross_entropy_mean(
    logits: torch.Tensor, targets: torch.Tensor, positive_weights: torch.Tensor | None
) -> torch.Tensor:
    """The mean binary cross-entropy; see ``BinaryLoss``."""
    return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=positive_weights)


def focal_mean(
    logits: torch.Tensor, targets: torch.Tensor, positive_weights: torch.Tensor | None, *, gamma: float
) -> torch.Tensor:
    """The mean binary focal loss; see ``BinaryLoss``."""
    positive, negative = (focal_cost(functional.logsigmoid(sign * logits), gamma) for sign in (1, -1))
    if positive_weights is not None:
        positive = positive * positive_weights
    return (targets * positive + (1 - targets) * negative).mean()


def _positive_weights(train: TrainConfig, targets: torch.Tensor) -> torch.Tensor | None:
    """Balanced class weights multiply a label's positives by negatives / positives."""
    if train.class_weights == "none":
        return None
    positives = targets.sum(0)
    return (len(targets) - positives) / positives.clamp(min=1)
