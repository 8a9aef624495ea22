"""The losses of training for numbers: squared, absolute and Huber errors of standardised numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from engine.compute.loss import main_logits, with_auxiliary
from engine.compute.task import Outputs
from engine.config.schema import TrainConfig
from engine.config.tasks import TaskSpec

Error = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Fp32 outputs and targets (N, numbers) → the mean, a scalar."""


class NumberCriterion:
    """A loss averaged over images and standardised numbers; ``std`` (numbers,) turns errors into the data's units."""

    def __init__(self, error: Error, std: torch.Tensor, aux_weight: float) -> None:
        self._error = error
        self._std = std
        self._aux_weight = aux_weight

    def __call__(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch, an fp32 scalar; ``targets``: float32 (N, numbers)."""
        return with_auxiliary(outputs, self._aux_weight, lambda numbers: self._error(numbers.float(), targets))

    def weight(self, targets: torch.Tensor) -> torch.Tensor:
        """The number of images, a scalar."""
        return torch.tensor(float(len(targets)), device=targets.device)

    def correct(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """The sum over the images of their mean absolute error in the data's units, a scalar."""
        numbers = main_logits(outputs).detach().float()
        return ((numbers - targets).abs() * self._std).mean(1).sum()


def mse(spec: TaskSpec, _train: TrainConfig, targets: torch.Tensor, aux_weight: float) -> NumberCriterion:
    """The mean squared error."""
    return _criterion(functional.mse_loss, spec, targets, aux_weight)


def l1(spec: TaskSpec, _train: TrainConfig, targets: torch.Tensor, aux_weight: float) -> NumberCriterion:
    """The mean absolute error."""
    return _criterion(functional.l1_loss, spec, targets, aux_weight)


def huber(spec: TaskSpec, _train: TrainConfig, targets: torch.Tensor, aux_weight: float) -> NumberCriterion:
    """The mean Huber loss, which is linear from an error of one standard deviation on (Huber 1964)."""
    return _criterion(functional.huber_loss, spec, targets, aux_weight)


def _criterion(error: Error, spec: TaskSpec, targets: torch.Tensor, aux_weight: float) -> NumberCriterion:
    std = torch.tensor(spec.std, dtype=torch.float32, device=targets.device)
    return NumberCriterion(error, std, aux_weight)
