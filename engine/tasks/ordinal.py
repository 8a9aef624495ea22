"""One of several ordered classes per image, by CORN (Shi, Cao and Raschka 2021, 2111.08851)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import nn

from engine.compute.corn import log_probabilities, predicted_ranks
from engine.compute.task import (
    Answer,
    ExportedOutput,
    Labelled,
    LabelledOutputs,
    PredictionWriter,
    ValidationResult,
)
from engine.config.tasks import TaskSpec
from engine.evaluation.evaluate import evaluate
from engine.evaluation.rank_metrics import mean_rank_error, quadratic_kappa
from engine.runs.events import Evaluated

_TOP = 5


class Ordinal:
    """The network has an output per class but the last: the logit of a higher rank. Targets: ranks, int64 (N,)."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @property
    def outputs(self) -> list[str]:
        """A question per class but the last: whether the rank is higher."""
        return [f"> {name}" for name in self.spec.classes[:-1]]

    def present(self, sample: Labelled) -> list[int]:
        """The image's class."""
        return [sample.label]

    def fitted(self, _samples: Sequence[Labelled]) -> Ordinal:
        """The task itself: it takes nothing from the training images."""
        return self

    def encode(self, samples: Sequence[Labelled]) -> torch.Tensor:
        """The rank of each image, int64 (N,)."""
        return torch.tensor([sample.label for sample in samples])

    def validation(self, device: torch.device, _score: str) -> RankValidation:
        """Quadratic kappa, the mean error in ranks, and accuracies."""
        return RankValidation(len(self.spec.classes), device)

    def evaluate(
        self,
        split: str,
        batches: Iterable[LabelledOutputs],
        paths: Iterable[str],
        predictions: PredictionWriter | None = None,
        *,
        tune: bool = False,
    ) -> Evaluated:
        """Metrics of ranks and of classes, the confusion matrix and calibration."""
        log_likelihoods = ((log_probabilities(outputs), targets) for outputs, targets in batches)
        return evaluate(self.spec, split, log_likelihoods, paths, predictions, lambda of: predicted_ranks(of.exp()))

    def tuned(self, _evaluated: Evaluated) -> Ordinal:
        """The task itself: evaluations choose nothing."""
        return self

    def explained(self, outputs: torch.Tensor, at: int) -> torch.Tensor:
        """The log-probability of the class."""
        return log_probabilities(outputs)[0, at]

    @property
    def exported(self) -> list[str]:
        """The names of the exported outputs, in order."""
        return self.spec.classes

    @property
    def export(self) -> ExportedOutput:
        """A probability per class."""
        return ExportedOutput(
            name="probabilities",
            description="a probability per class, in the order of the ranks",
            layer=RankProbabilities(),
            comparable=lambda outputs: outputs,
            compared="a probability",
            finish=_FINISH,
            show=_SHOW,
        )

    def answers(self, outputs: torch.Tensor) -> list[Answer]:
        """The predicted class, and the five most probable ones; ``outputs``: probabilities (N, classes)."""
        classes = self.spec.classes
        answers = []
        for row, rank in zip(outputs.tolist(), predicted_ranks(outputs).tolist(), strict=True):
            top = [(classes[at], row[at]) for at in sorted(range(len(row)), key=lambda at: -row[at])[:_TOP]]
            answers.append(Answer(classes[rank], row[rank], top))
        return answers


_FINISH = """\
above = np.cumsum(-np.logaddexp(0, -outputs), 1)  # log-probabilities of a higher rank
none = np.zeros((len(outputs), 1), "float32")
outputs = np.exp(np.hstack([none, above]) + np.hstack([-np.logaddexp(0, outputs), none]))
"""
_SHOW = """\
ranks = (np.cumsum(outputs, 1)[:, :-1] < 0.5).sum(1)  # the median
for path, row, rank in zip(sys.argv[1:], outputs, ranks):
    print(path, about["classes"][rank], f"{row[rank]:.6f}", sep="\\t")
"""


class RankProbabilities(nn.Module):
    """Turns the network's outputs (N, classes - 1) into the probabilities of the classes (N, classes)."""

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        """The probabilities, float32."""
        return log_probabilities(outputs).exp()


class RankValidation:
    """Counts predicted and true ranks; the counts stay on the device until a metric is read."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self._loss = 0.0
        self._weight = 0.0
        self._confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)

    def add(self, loss: torch.Tensor, weight: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch: its mean loss and that mean's divisor, outputs (N, classes - 1) and ranks int64 (N,)."""
        mean, divisor = torch.stack([loss, weight]).tolist()
        self._loss += mean * divisor
        self._weight += divisor
        classes = len(self._confusion)
        cells = targets * classes + predicted_ranks(log_probabilities(outputs.float()).exp())
        self._confusion += torch.bincount(cells, minlength=classes * classes).view(classes, classes)

    def result(self) -> ValidationResult:
        """The mean loss, and the metrics over all images."""
        counts = self._confusion.cpu().numpy()
        images, correct = counts.sum(1), counts.diagonal()
        metrics = {
            "quadratic_kappa": quadratic_kappa(counts),
            "mae": mean_rank_error(counts),
            "accuracy": float(correct.sum() / images.sum()),
            "balanced_accuracy": float(np.mean(correct[images > 0] / images[images > 0])),
        }
        return ValidationResult(self._loss / self._weight, metrics)
