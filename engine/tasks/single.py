"""One class per image, or a probability per class: softmax."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from engine.compute.task import (
    Answer,
    ExportedOutput,
    Labelled,
    LabelledOutputs,
    PredictionWriter,
)
from engine.config.tasks import TaskSpec
from engine.evaluation.evaluate import evaluate
from engine.runs.events import Evaluated
from engine.training.validation import ValidationMetrics

_TOP = 5
_SHOW = """\
probabilities = np.exp(outputs - outputs.max(1, keepdims=True))
probabilities /= probabilities.sum(1, keepdims=True)
for path, row in zip(sys.argv[1:], probabilities):
    print(path, about["classes"][row.argmax()], f"{row.max():.6f}", sep="\\t")
"""


class SingleLabel:
    """The network has an output per class, its logit.

    Targets are positions in the classes, int64 (N,), or soft labels: a probability per class, float32 (N, classes).
    """

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @property
    def outputs(self) -> list[str]:
        """The classes."""
        return self.spec.classes

    def present(self, sample: Labelled) -> list[int]:
        """The image's class; with soft labels the most probable one."""
        return [sample.label]

    def fitted(self, _samples: Sequence[Labelled]) -> SingleLabel:
        """The task itself: it takes nothing from the training images."""
        return self

    def encode(self, samples: Sequence[Labelled]) -> torch.Tensor:
        """The class of each image, int64 (N,); soft labels float32 (N, classes)."""
        if any(sample.target for sample in samples):
            return torch.tensor([sample.target for sample in samples], dtype=torch.float32)
        return torch.tensor([sample.label for sample in samples])

    def validation(self, device: torch.device, score: str) -> ValidationMetrics:
        """Accuracies, macro F1 and the label's rank in misclassified images; the mean ROC-AUC if it is the score."""
        return ValidationMetrics(len(self.spec.classes), device, with_roc_auc=score == "roc_auc")

    def evaluate(
        self,
        split: str,
        batches: Iterable[LabelledOutputs],
        paths: Iterable[str],
        predictions: PredictionWriter | None = None,
        *,
        tune: bool = False,
    ) -> Evaluated:
        """All metrics of classification, the confusion matrix and calibration."""
        return evaluate(self.spec, split, batches, paths, predictions)

    def tuned(self, _evaluated: Evaluated) -> SingleLabel:
        """The task itself: evaluations choose nothing."""
        return self

    def explained(self, outputs: torch.Tensor, at: int) -> torch.Tensor:
        """The logit of the class."""
        return outputs[0, at]

    @property
    def exported(self) -> list[str]:
        """The names of the exported outputs, in order."""
        return self.spec.classes

    @property
    def export(self) -> ExportedOutput:
        """A logit per class."""
        return ExportedOutput(
            name="logits",
            description="logits",
            layer=nn.Identity(),
            comparable=lambda outputs: outputs.softmax(1),
            compared="a probability",
            finish="",
            show=_SHOW,
        )

    def answers(self, outputs: torch.Tensor) -> list[Answer]:
        """The most probable class, and the five most probable ones; ``outputs``: logits (N, classes)."""
        values, classes = outputs.softmax(1).topk(min(_TOP, len(self.spec.classes)))
        rows = [
            [(self.spec.classes[at], value) for at, value in zip(*row, strict=True)]
            for row in zip(classes.tolist(), values.tolist(), strict=True)
        ]
        return [Answer(*top[0], top) for top in rows]
