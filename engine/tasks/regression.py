"""One or more numbers per image. The network predicts them in standard deviations from the training images' mean."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from engine.compute.task import Answer, ExportedOutput, Labelled, LabelledOutputs, PredictionWriter
from engine.config.tasks import TASKS, TaskSpec
from engine.evaluation.metrics import NUMBER_METRICS, compute_metrics, mean_of_known
from engine.runs.events import Evaluated, NumberMetrics
from engine.runs.json_floats import encode_float
from engine.tasks.collected import CollectedValidation, joined, write_predictions

Floats = npt.NDArray[np.float64]

_POINTS = 300  # of a scatter plot; a terminal has no room for more


class Regression:
    """The network has an output per number. Targets are standardised numbers, float32 (N, numbers)."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec
        self._mean = np.array(spec.mean or [0.0] * len(spec.classes))
        self._std = np.array(spec.std or [1.0] * len(spec.classes))

    @property
    def outputs(self) -> list[str]:
        """The names of the numbers."""
        return self.spec.classes

    def present(self, _sample: Labelled) -> list[int]:
        """Nothing: an image shows no class."""
        return []

    def fitted(self, samples: Sequence[Labelled]) -> Regression:
        """The task with the mean and the standard deviation of the training images; 1 for a constant."""
        values = np.array([sample.target for sample in samples])
        std = values.std(0)
        std[std == 0] = 1.0
        return Regression(msgspec.structs.replace(self.spec, mean=values.mean(0).tolist(), std=std.tolist()))

    def encode(self, samples: Sequence[Labelled]) -> torch.Tensor:
        """The numbers in standard deviations from the mean, float32 (N, numbers)."""
        values = np.array([sample.target for sample in samples]).reshape(len(samples), len(self.spec.classes))
        return torch.from_numpy(((values - self._mean) / self._std).astype(np.float32))

    def validation(self, _device: torch.device, _score: str) -> CollectedValidation:
        """R², errors and rank correlation, in the data's units."""
        return CollectedValidation(lambda outputs, targets: _validation_metrics(self._errors(outputs, targets)))

    def evaluate(
        self,
        split: str,
        batches: Iterable[LabelledOutputs],
        paths: Iterable[str],
        predictions: PredictionWriter | None = None,
        *,
        tune: bool = False,
    ) -> Evaluated:
        """Metrics per number, in the data's units, and their means."""
        start = time.monotonic()
        outputs, targets = joined(batches)
        seconds = time.monotonic() - start
        found = self._errors(outputs, targets)
        if predictions:
            texts = ([_text(row) for row in numbers] for numbers in (found.true, found.predicted))
            write_predictions(predictions, paths, *texts, values=torch.from_numpy(found.predicted))
        return Evaluated(
            task=self.spec.task,
            score=TASKS[self.spec.task].score,
            split=split,
            count=len(targets),
            nonfinite=encode_float(outputs.sum().item())[1],
            metrics=compute_metrics(found, self.spec.task),
            classes=self.spec.classes,
            numbers=found.numbers,
            images_per_second=round(len(targets) / max(seconds, 1e-9), 1),
        )

    def _errors(self, outputs: torch.Tensor, targets: torch.Tensor) -> NumberErrors:
        true, predicted = (self._in_units(one.double().numpy()) for one in (targets, outputs))
        return NumberErrors(self.spec.classes, true, predicted)

    def _in_units(self, standardised: Floats) -> Floats:
        return standardised * self._std + self._mean

    def tuned(self, _evaluated: Evaluated) -> Regression:
        """The task itself: evaluations choose nothing."""
        return self

    def explained(self, outputs: torch.Tensor, at: int) -> torch.Tensor:
        """The number: Grad-CAM shows what raises it."""
        return outputs[0, at]

    @property
    def exported(self) -> list[str]:
        """The names of the exported outputs, in order."""
        return self.spec.classes

    @property
    def export(self) -> ExportedOutput:
        """The numbers in the data's units."""
        std = torch.tensor(self._std, dtype=torch.float32)
        return ExportedOutput(
            name="numbers",
            description="numbers in the data's units",
            layer=InUnits(self._mean, self._std),
            comparable=lambda outputs: outputs / std,
            compared="a standardised number",
            finish='outputs = outputs * np.float32(about["std"]) + np.float32(about["mean"])\n',
            show=_SHOW,
        )

    def answers(self, outputs: torch.Tensor) -> list[Answer]:
        """The numbers of each image; ``outputs``: in the data's units."""
        return [
            Answer(_text(row), None, [], dict(zip(self.spec.classes, row, strict=True)))
            for row in outputs.double().tolist()
        ]


_SHOW = """\
for path, row in zip(sys.argv[1:], outputs):
    print(path, *(f"{name} {value:.6g}" for name, value in zip(about["classes"], row)), sep="\\t")
"""


def _text(numbers: Iterable[float]) -> str:
    return "; ".join(f"{value:.6g}" for value in numbers)


class InUnits(nn.Module):
    """Turns standardised numbers (N, numbers) into those of the data."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Floats, std: Floats) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        """The numbers in the data's units."""
        return outputs * self.std + self.mean


class NumberErrors:
    """What metrics are computed from: true and predicted numbers (N, numbers), in the data's units."""

    def __init__(self, names: Sequence[str], true: Floats, predicted: Floats) -> None:
        self.true = true
        self.predicted = predicted
        self.numbers = [_number_metrics(name, true[:, at], predicted[:, at]) for at, name in enumerate(names)]

    @property
    def mae(self) -> float | None:
        """The mean absolute error, averaged over the numbers, as all metrics here."""
        return mean_of_known(of.mae for of in self.numbers)

    @property
    def rmse(self) -> float | None:
        """The root of the mean squared error."""
        return mean_of_known(of.rmse for of in self.numbers)

    @property
    def r2(self) -> float | None:
        """The coefficient of determination."""
        return mean_of_known(of.r2 for of in self.numbers)

    @property
    def spearman(self) -> float | None:
        """Spearman's rank correlation of predicted and true numbers."""
        return mean_of_known(of.spearman for of in self.numbers)


def _number_metrics(name: str, true: Floats, predicted: Floats) -> NumberMetrics:
    mae = rmse = r2 = rank_correlation = None
    points: list[tuple[float, float]] = []
    error = predicted - true
    if np.isfinite(error).all():
        mae, squared = float(np.abs(error).mean()), float((error**2).mean())
        rmse = squared**0.5
        r2 = 1 - squared / float(true.var()) if true.var() > 0 else None
        rank_correlation = spearman(true, predicted)
        shown = np.linspace(0, len(true) - 1, min(len(true), _POINTS), dtype=int)
        points = [(float(true[at]), float(predicted[at])) for at in shown]
    return NumberMetrics(name, mae, rmse, r2, rank_correlation, float(true.mean()), float(true.std()), points)


def spearman(one: Floats, other: Floats) -> float | None:
    """Spearman's rank correlation, from -1 to 1; None where all of one side are equal."""
    if any(values.min() == values.max() for values in (one, other)):
        return None
    from scipy.stats import spearmanr  # its import takes half a second

    return float(spearmanr(one, other).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def _validation_metrics(found: NumberErrors) -> dict[str, float | None]:
    return {name: getattr(found, name) for name in NUMBER_METRICS}
