"""One class per image: softmax and cross-entropy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from engine.compute.loss import CrossEntropy, balanced_weights
from engine.compute.task import Labelled, LabelledOutputs, PredictionWriter
from engine.config.schema import TrainConfig
from engine.config.tasks import TaskSpec
from engine.evaluation.evaluate import evaluate
from engine.runs.events import Evaluated
from engine.training.validation import ValidationMetrics


class SingleLabel:
    """The network has an output per class, its logit. Targets are positions in the classes, int64 (N,)."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @property
    def outputs(self) -> list[str]:
        """The classes."""
        return self.spec.classes

    def encode(self, samples: Sequence[Labelled]) -> torch.Tensor:
        """The class of each image, int64 (N,)."""
        return torch.tensor([sample.label for sample in samples])

    def criterion(self, train: TrainConfig, targets: torch.Tensor, aux_weight: float) -> CrossEntropy:
        """Cross-entropy with label smoothing and class weights."""
        weights = None
        if train.class_weights == "balanced":
            counts = targets.bincount(minlength=len(self.spec.classes)).tolist()
            weights = balanced_weights(counts).to(targets.device)
        return CrossEntropy(weights, train.label_smoothing, aux_weight)

    def validation(self, device: torch.device) -> ValidationMetrics:
        """Accuracy, balanced accuracy, and the label's rank in misclassified images."""
        return ValidationMetrics(len(self.spec.classes), device)

    def evaluate(
        self,
        split: str,
        batches: Iterable[LabelledOutputs],
        paths: Iterable[str],
        predictions: PredictionWriter | None = None,
    ) -> Evaluated:
        """All metrics of classification, the confusion matrix and calibration."""
        return evaluate(self.spec.classes, split, batches, paths, predictions)
