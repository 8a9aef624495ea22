"""CORN, conditional ordinal regression (Shi, Cao and Raschka 2021, 2111.08851): loss, probabilities and ranks.

For K ordered classes the network has K - 1 outputs. The sigmoid of output k is the probability that the rank is above
k, given that it is not below k.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from engine.compute.loss import class_weights, main_logits, with_auxiliary
from engine.compute.task import Outputs
from engine.config.schema import TrainConfig
from engine.config.tasks import TaskSpec


class CornCriterion:
    """Binary cross-entropy of each output over the images whose rank is not below its own. Targets: int64 (N,).

    ``weights`` (K,): of the classes, 1 for unweighted ones.
    """

    def __init__(self, weights: torch.Tensor, aux_weight: float) -> None:
        self._weights = weights
        self._ranks = torch.arange(len(weights) - 1, device=weights.device)
        self._aux_weight = aux_weight

    def __call__(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss over the subsets of a batch, an fp32 scalar."""
        return with_auxiliary(outputs, self._aux_weight, lambda logits: self._mean(logits.float(), targets))

    def weight(self, targets: torch.Tensor) -> torch.Tensor:
        """The divisor of a batch's mean loss, a scalar: the sizes of the outputs' subsets, or their weights."""
        return self._subsets(targets).sum()

    def correct(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """The number of correctly predicted ranks in a batch, an int64 scalar."""
        probabilities = log_probabilities(main_logits(outputs).detach().float()).exp()
        return (predicted_ranks(probabilities) == targets).sum()

    def _mean(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        above = (targets[:, None] > self._ranks).float()
        losses = functional.binary_cross_entropy_with_logits(logits, above, reduction="none")
        subsets = self._subsets(targets)
        return (losses * subsets).sum() / subsets.sum()

    def _subsets(self, targets: torch.Tensor) -> torch.Tensor:
        """The weight of each image in each output's subset, float32 (N, K - 1); 0 outside."""
        return (targets[:, None] >= self._ranks) * self._weights[targets][:, None]


def corn(spec: TaskSpec, train: TrainConfig, targets: torch.Tensor, aux_weight: float) -> CornCriterion:
    """The loss of ordered classes with class weights; ``targets``: of the training images."""
    weights = class_weights(spec, train, targets)
    return CornCriterion(
        torch.ones(len(spec.classes), device=targets.device) if weights is None else weights, aux_weight
    )


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """The log-probability of each class (N, K), from the conditional logits (N, K - 1)."""
    above = functional.logsigmoid(logits).cumsum(1)  # of a rank above k: the cumulated product of the conditional ones
    none = torch.zeros_like(logits[:, :1])
    return torch.cat([none, above], 1) + torch.cat([functional.logsigmoid(-logits), none], 1)


def predicted_ranks(probabilities: torch.Tensor) -> torch.Tensor:
    """The rank of each image, int64 (N,): how many ranks are exceeded with a probability above 0.5; the median."""
    return (probabilities.cumsum(1)[:, :-1] < 0.5).sum(1)
