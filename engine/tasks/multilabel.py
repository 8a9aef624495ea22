"""Any number of labels per image: a sigmoid per label."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from engine.compute.task import (
    Answer,
    ExportedOutput,
    Labelled,
    LabelledOutputs,
    PredictionWriter,
)
from engine.config.tasks import TaskSpec
from engine.evaluation.metrics import compute_metrics
from engine.evaluation.ranking import Ranking, roc_auc_and_average_precision
from engine.runs.events import ClassMetrics, Evaluated
from engine.runs.json_floats import encode_float
from engine.tasks.collected import CollectedValidation, joined, write_predictions
from engine.tasks.label_sets import SEPARATOR
from engine.training.validation import roc_auc

_THRESHOLD = 0.5  # until one is chosen on validation images
_TOP = 5

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class MultiLabel:
    """The network has an output per label, its logit. Targets are 0 or 1 per label, float32 (N, labels)."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @property
    def outputs(self) -> list[str]:
        """The labels."""
        return self.spec.classes

    @property
    def thresholds(self) -> Floats:
        """The probability from which each label is predicted, (labels,)."""
        return np.array(self.spec.thresholds or [_THRESHOLD] * len(self.spec.classes))

    def present(self, sample: Labelled) -> list[int]:
        """The labels that the image has."""
        return [at for at, flag in enumerate(sample.target) if flag]

    def fitted(self, _samples: Sequence[Labelled]) -> MultiLabel:
        """The task itself: it takes nothing from the training images."""
        return self

    def encode(self, samples: Sequence[Labelled]) -> torch.Tensor:
        """0 or 1 per image and label, float32 (N, labels)."""
        return torch.tensor([sample.target for sample in samples], dtype=torch.float32)

    def validation(self, _device: torch.device, score: str) -> CollectedValidation:
        """Mean average precision, and F1 with the thresholds so far; the mean ROC-AUC if it is the score."""

        def compute(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float | None]:
            areas = {"roc_auc": roc_auc(outputs, targets > 0.5)} if score == "roc_auc" else {}
            return _validation_metrics(outputs, targets, self.thresholds) | areas

        return CollectedValidation(compute)

    def evaluate(
        self,
        split: str,
        batches: Iterable[LabelledOutputs],
        paths: Iterable[str],
        predictions: PredictionWriter | None = None,
        *,
        tune: bool = False,
    ) -> Evaluated:
        """Metrics per label and over all, and the co-occurrence matrix. ``tune`` chooses the thresholds."""
        start = time.monotonic()
        logits, targets = joined(batches)
        seconds = time.monotonic() - start
        scores, true = logits.double().sigmoid().numpy(), targets.numpy() > 0.5
        thresholds = best_thresholds(scores, true) if tune else self.thresholds
        loss = functional.binary_cross_entropy_with_logits(logits, targets).item()
        found = LabelDecisions(self.spec.classes, scores, true, thresholds, loss)
        values = compute_metrics(found, self.spec.task)
        if predictions:
            names = ([self._text(row) for row in flags] for flags in (true, found.predicted))
            write_predictions(predictions, paths, *names, values=torch.from_numpy(scores))
        fields: dict[str, Any] = {name: value for name, value in values.items() if name in Evaluated.__struct_fields__}
        return Evaluated(
            task=self.spec.task,
            score="average_precision",
            split=split,
            count=len(true),
            nonfinite=encode_float(loss)[1],
            metrics={name: value for name, value in values.items() if name not in fields},
            classes=self.spec.classes,
            per_class=found.per_class,
            cooccurrence=(true.T.astype(np.int64) @ found.predicted.astype(np.int64)).tolist(),
            images_per_second=round(len(true) / max(seconds, 1e-9), 1),
            **fields,
        )

    def tuned(self, evaluated: Evaluated) -> MultiLabel:
        """The task with the thresholds of an evaluation."""
        thresholds = [_THRESHOLD if of.threshold is None else of.threshold for of in evaluated.per_class]
        return MultiLabel(msgspec.structs.replace(self.spec, thresholds=thresholds))

    def explained(self, outputs: torch.Tensor, at: int) -> torch.Tensor:
        """The logit of the label."""
        return outputs[0, at]

    @property
    def exported(self) -> list[str]:
        """The names of the exported outputs, in order."""
        return self.spec.classes

    @property
    def export(self) -> ExportedOutput:
        """A probability per label."""
        return ExportedOutput(
            name="probabilities",
            description="a probability per label; export.json has the thresholds",
            layer=nn.Sigmoid(),
            comparable=lambda outputs: outputs,
            compared="a probability",
            finish="outputs = 1 / (1 + np.exp(-outputs))\n",
            show=_SHOW,
        )

    def answers(self, outputs: torch.Tensor) -> list[Answer]:
        """The labels at or above their thresholds, and the five most probable labels. ``outputs``: probabilities."""
        answers = []
        for row in outputs.double().numpy():
            top = [(self.spec.classes[at], float(row[at])) for at in np.argsort(-row, kind="stable")[:_TOP]]
            values = {name: float(value) for name, value in zip(self.spec.classes, row, strict=True)}
            answers.append(Answer(self._text(row >= self.thresholds), None, top, values))
        return answers

    def _text(self, flags: Flags) -> str:
        return SEPARATOR.join(name for name, flag in zip(self.spec.classes, flags, strict=True) if flag)


_SHOW = """\
for path, row in zip(sys.argv[1:], outputs):
    labels = [name for name, value, least in zip(about["classes"], row, about["thresholds"]) if value >= least]
    print(path, ";".join(labels), *(f"{value:.6f}" for value in row), sep="\\t")
"""


class LabelDecisions:
    """What metrics are computed from: probabilities (N, labels), true labels, and the labels at the thresholds."""

    def __init__(self, classes: Sequence[str], scores: Floats, true: Flags, thresholds: Floats, loss: float) -> None:
        """``loss``: mean binary cross-entropy."""
        self.classes = classes
        self.scores = scores
        self.true = true
        self.thresholds = thresholds
        self.predicted: Flags = scores >= thresholds
        self.count = len(true)
        self.loss_sum = loss * len(true)
        self.per_class = [self._metrics(at) for at in range(len(classes))]

    def _metrics(self, at: int) -> ClassMetrics:
        true, predicted, score = self.true[:, at], self.predicted[:, at], self.scores[:, at]
        hits = int((true & predicted).sum())
        precision, recall = hits / max(int(predicted.sum()), 1), hits / max(int(true.sum()), 1)
        ranking = Ranking(true.astype(np.int8), score, np.ones(len(true), np.int64))
        ranked = roc_auc_and_average_precision(ranking) if np.isfinite(score).all() else None
        roc_auc, average = ranked or (None, None)
        label, threshold = self.classes[at], float(self.thresholds[at])
        return ClassMetrics(label, precision, recall, f1(true, predicted), int(true.sum()), roc_auc, average, threshold)

    @property
    def micro_f1(self) -> float:
        """F1 over all decisions."""
        return f1(self.true, self.predicted)

    @property
    def label_accuracy(self) -> float:
        """The share of correct decisions."""
        return float((self.true == self.predicted).mean())

    @property
    def exact_match(self) -> float:
        """The share of images with all labels correct."""
        return float((self.true == self.predicted).all(1).mean())


def f1(true: Flags, predicted: Flags) -> float:
    """The harmonic mean of precision and recall; 0 where nothing is true or predicted."""
    both = int(true.sum()) + int(predicted.sum())
    return 2 * int((true & predicted).sum()) / both if both else 0.0


def average_precision(true: Flags, score: Floats) -> float | None:
    """The area under the precision-recall steps, as scikit-learn computes it; None without a positive."""
    if not true.any():
        return None
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(true[order])
    last = np.append(np.diff(score[order]) != 0, True)  # equal scores share a threshold
    precision, recall = hits[last] / (np.flatnonzero(last) + 1), hits[last] / hits[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def best_thresholds(scores: Floats, true: Flags) -> Floats:
    """The threshold of each label with the highest F1, midway between two scores; 0.5 without a positive."""
    return np.array([_best_threshold(scores[:, at], true[:, at]) for at in range(scores.shape[1])])


def _best_threshold(score: Floats, true: Flags) -> float:
    if not true.any() or not np.isfinite(score).all():
        return _THRESHOLD
    order = np.argsort(-score, kind="stable")
    descending, hits = score[order], np.cumsum(true[order])
    count = np.arange(1, len(score) + 1)
    f1_at = 2 * hits / (count + hits[-1])
    f1_at[:-1][descending[:-1] == descending[1:]] = -1  # no threshold lies between equal scores
    best = int(np.argmax(f1_at))
    below = descending[best + 1] if best + 1 < len(score) else 0.0
    return float((descending[best] + below) / 2)


def _validation_metrics(outputs: torch.Tensor, targets: torch.Tensor, thresholds: Floats) -> dict[str, float | None]:
    scores, true = outputs.double().sigmoid().numpy(), targets.numpy() > 0.5
    if not np.isfinite(scores).all():
        return dict.fromkeys(("average_precision", "macro_f1", "micro_f1", "label_accuracy"))
    predicted = scores >= thresholds
    labels = range(scores.shape[1])
    found = [one for at in labels if (one := average_precision(true[:, at], scores[:, at])) is not None]
    return {
        "average_precision": float(np.mean(found)) if found else None,
        "macro_f1": float(np.mean([f1(true[:, at], predicted[:, at]) for at in labels])),
        "micro_f1": f1(true, predicted),
        "label_accuracy": float((true == predicted).mean()),
    }
