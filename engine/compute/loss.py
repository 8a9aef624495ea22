"""The losses of training for one class per image: cross-entropy and focal, for classes and for their probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch.nn import functional

from engine.compute.task import Outputs
from engine.config.schema import TrainConfig
from engine.config.tasks import TaskSpec

ClassLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None, float], torch.Tensor]
"""Fp32 logits (N, classes), targets, class weights or None, label smoothing → the sum over the images, a scalar."""


class ClassCriterion:
    """A loss over classes, averaged over the images; that of auxiliary heads counts ``aux_weight``.

    Targets are classes, int64 (N,), or a probability per class, float32 (N, classes). Both give the same loss where
    one class has the probability 1. An image's class weight is the mean of the weights by its probabilities.
    """

    def __init__(
        self, loss: ClassLoss, class_weights: torch.Tensor | None, label_smoothing: float, aux_weight: float
    ) -> None:
        self._loss = loss
        self._class_weights = class_weights
        self._label_smoothing = label_smoothing
        self._aux_weight = aux_weight

    def __call__(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch, an fp32 scalar."""
        divisor = self.weight(targets)
        return with_auxiliary(outputs, self._aux_weight, lambda logits: self._sum(logits, targets) / divisor)

    def weight(self, targets: torch.Tensor) -> torch.Tensor:
        """The divisor of a batch's mean loss, a scalar: its number of images, or the sum of their class weights."""
        if self._class_weights is None:
            return torch.tensor(float(len(targets)), device=targets.device)
        if targets.is_floating_point():
            return (targets @ self._class_weights).sum()
        return self._class_weights[targets].sum()

    def correct(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """The number of correct predictions in a batch, an int64 scalar."""
        return (main_logits(outputs).detach().argmax(1) == most_probable(targets)).sum()

    def _sum(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self._loss(logits.float(), targets, self._class_weights, self._label_smoothing)


def cross_entropy(spec: TaskSpec, train: TrainConfig, targets: torch.Tensor, aux_weight: float) -> ClassCriterion:
    """Cross-entropy with label smoothing and class weights; ``targets``: of the training images."""
    return ClassCriterion(cross_entropy_sum, class_weights(spec, train, targets), train.label_smoothing, aux_weight)


def focal(spec: TaskSpec, train: TrainConfig, targets: torch.Tensor, aux_weight: float) -> ClassCriterion:
    """Focal loss with label smoothing and class weights; ``targets``: of the training images."""
    loss = partial(focal_sum, gamma=train.focal_gamma)
    return ClassCriterion(loss, class_weights(spec, train, targets), train.label_smoothing, aux_weight)


def cross_entropy_sum(
    logits: torch.Tensor, targets: torch.Tensor, class_weights: torch.Tensor | None, label_smoothing: float
) -> torch.Tensor:
    """The sum of the images' cross-entropies; see ``ClassLoss``."""
    return functional.cross_entropy(
        logits, targets, weight=class_weights, label_smoothing=label_smoothing, reduction="sum"
    )


def focal_sum(
    logits: torch.Tensor,
    targets: torch.Tensor,
    class_weights: torch.Tensor | None,
    label_smoothing: float,
    *,
    gamma: float,
) -> torch.Tensor:
    """The sum of the images' focal losses; see ``ClassLoss``. A class counts by its probability in the target."""
    classes = logits.shape[1]
    smooth = class_probabilities(targets, classes) * (1 - label_smoothing) + label_smoothing / classes
    cost = focal_cost(logits.log_softmax(1), gamma)
    return (cost * smooth if class_weights is None else cost * smooth * class_weights).sum()


def focal_cost(log_probability: torch.Tensor, gamma: float) -> torch.Tensor:
    """The focal loss of what is true and predicted with this probability (Lin et al. 2017, 1708.02002).

    -(1 - p)^gamma log p, elementwise; cross-entropy where ``gamma`` is 0.
    """
    # Where p is 1 in fp32, a power below 1 would have an infinite gradient.
    wrong = (-log_probability.expm1()).clamp(min=torch.finfo(log_probability.dtype).tiny ** 0.5)
    return -(wrong**gamma) * log_probability


def class_probabilities(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Targets as probabilities, float32 (N, classes): 1 for the class of an int64 target (N,)."""
    return targets if targets.is_floating_point() else functional.one_hot(targets, classes).float()


def most_probable(targets: torch.Tensor) -> torch.Tensor:
    """The class of each image, int64 (N,): of equal probabilities the first."""
    return targets.argmax(1) if targets.is_floating_point() else targets


def with_auxiliary(outputs: Outputs, aux_weight: float, loss: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The ``loss`` of the main head, plus ``aux_weight`` times that of each auxiliary head."""
    main, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
    total = loss(main)
    for other in auxiliary:
        total = total + aux_weight * loss(other)
    return total


def main_logits(outputs: Outputs) -> torch.Tensor:
    """The logits (N, classes) of the main head."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def balanced_weights(counts: Sequence[float]) -> torch.Tensor:
    """Class weights inverse to the number of images per class, with a mean of 1 over the images."""
    count = torch.tensor(counts, dtype=torch.float32)
    return count.sum() / (len(counts) * count)


def class_weights(spec: TaskSpec, train: TrainConfig, targets: torch.Tensor) -> torch.Tensor | None:
    """The class weights that [train] asks for; probabilities count as parts of an image."""
    if train.class_weights == "none":
        return None
    classes = len(spec.classes)
    counts = targets.sum(0) if targets.is_floating_point() else targets.bincount(minlength=classes)
    return balanced_weights(counts.tolist()).to(targets.device)
