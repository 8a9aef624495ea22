"""Metrics of a classifier on a split: one entry each. Imports no torch, so that every table can list them.

To add a metric, add an entry. The event, the command line, the report, comparisons, model cards, the app and the
manual show it without further code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from engine.files.escapes import printable
from engine.runs.events import Evaluated, NumberMetrics

if TYPE_CHECKING:
    from engine.evaluation.accumulator import MetricAccumulator


@dataclass(frozen=True)
class Metric:
    """A metric of one split.

    ``name``: the field of ``Evaluated``, or the key in its ``metrics``. ``label`` stands in sentences, ``short`` in
    column headings. ``compute`` returns None where the metric is undefined. ``unit``: "percent" for proportions that
    people read in percent, "number" for numbers with a unit of their own, else "decimal". ``bounds``: the lowest
    and the highest value that the metric can have. ``meaning``: one sentence for the manual. ``tasks``: the tasks that
    have the metric; ``compute`` takes what each of them accumulates.
    """

    name: str
    label: str
    compute: Callable[[Any], float | None]
    meaning: str
    short: str = ""
    higher_is_better: bool = True
    unit: Literal["percent", "decimal", "number"] = "decimal"
    bounds: tuple[float, float] = (0.0, 1.0)
    tasks: tuple[str, ...] = ("single",)

    def value(self, evaluated: Evaluated) -> float | None:
        """The metric's value in an event, None where it has none."""
        return getattr(evaluated, self.name, evaluated.metrics.get(self.name))

    def format(self, value: float) -> str:
        """The value as people read it, without the label."""
        return _FORMATS[self.unit].format(value)

    @property
    def heading(self) -> str:
        """The label of a column."""
        return self.short or self.label


_FORMATS = {"percent": "{:.1%}", "decimal": "{:.3f}", "number": "{:.4g}"}


def _balanced_accuracy(of: MetricAccumulator) -> float:
    from sklearn.metrics import balanced_accuracy_score

    true, predicted, weight = of.weighted_pairs()
    return float(balanced_accuracy_score(true, predicted, sample_weight=weight))


def _log_loss(of: MetricAccumulator) -> float | None:
    return of.loss_sum / of.count if math.isfinite(of.loss_sum) else None


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean over the classes or numbers that have the metric."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


_ALL = (
    Metric(
        "accuracy",
        "accuracy",
        lambda of: of.correct / of.count,
        "Proportion of correct predictions.",
        unit="percent",
        tasks=("single", "ordinal"),
    ),
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        _balanced_accuracy,
        "Mean recall over the classes that occur.",
        short="balanced",
        unit="percent",
        tasks=("single", "ordinal"),
    ),
    Metric(
        "macro_f1",
        "macro F1",
        lambda of: fmean(one.f1 for one in of.per_class),
        "Mean F1 over classes.",
        tasks=("single", "multilabel", "ordinal"),
    ),
    Metric(
        "micro_f1",
        "micro F1",
        lambda of: of.micro_f1,
        "F1 over all decisions, one per image and label.",
        tasks=("multilabel",),
    ),
    Metric(
        "weighted_f1",
        "weighted F1",
        lambda of: fmean([one.f1 for one in of.per_class], [one.support for one in of.per_class]),
        "Mean F1 over classes, weighted by their images.",
        tasks=("single", "multilabel", "ordinal"),
    ),
    Metric(
        "label_accuracy",
        "label accuracy",
        lambda of: of.label_accuracy,
        "Proportion of correct decisions, one per image and label.",
        unit="percent",
        tasks=("multilabel",),
    ),
    Metric(
        "exact_match",
        "exact match",
        lambda of: of.exact_match,
        "Proportion of images with all labels correct.",
        unit="percent",
        tasks=("multilabel",),
    ),
    Metric(
        "top5",
        "top-5 accuracy",
        lambda of: of.top5_correct / of.count if len(of.classes) > 5 else None,
        "Proportion of images whose class is among the five most probable; undefined with five classes or fewer.",
        short="top-5",
        unit="percent",
    ),
    Metric(
        "roc_auc",
        "ROC-AUC",
        lambda of: mean_of_known(one.roc_auc for one in of.per_class),
        "Area under the ROC curve of each class against the others, mean over classes.",
        tasks=("single", "multilabel", "ordinal"),
    ),
    Metric(
        "average_precision",
        "average precision",
        lambda of: mean_of_known(one.average_precision for one in of.per_class),
        "Area under the precision-recall curve of each class against the others, mean over classes.",
        short="AP",
        tasks=("single", "multilabel", "ordinal"),
    ),
    Metric(
        "log_loss",
        "log loss",
        _log_loss,
        "Mean cross-entropy.",
        higher_is_better=False,
        bounds=(0.0, math.inf),
        tasks=("single", "multilabel", "ordinal"),
    ),
    Metric(
        "ece",
        "calibration error",
        lambda of: of.calibration.error if of.is_finite else None,
        "Expected calibration error over 15 bins of confidence (Guo et al. 2017, 1706.04599).",
        short="ECE",
        higher_is_better=False,
        unit="percent",
        tasks=("single", "ordinal"),
    ),
    Metric(
        "quadratic_kappa",
        "quadratic kappa",
        lambda of: of.quadratic_kappa,
        "Cohen's kappa with quadratic weights: agreement of predicted and true ranks, 1 is perfect, 0 chance level.",
        short="QWK",
        bounds=(-1.0, 1.0),
        tasks=("ordinal",),
    ),
    Metric(
        "r2",
        "R²",
        lambda of: of.r2,
        "Proportion of the variance of the true numbers that the predicted ones explain: 1 is perfect, 0 as good as "
        "their mean, and below 0 worse; mean over numbers, as the following metrics.",
        bounds=(-math.inf, 1.0),
        tasks=("regression",),
    ),
    Metric(
        "mae",
        "MAE",
        lambda of: of.mae,
        "Mean absolute error, in the data's units; for ordered classes in ranks.",
        higher_is_better=False,
        unit="number",
        bounds=(0.0, math.inf),
        tasks=("regression", "ordinal"),
    ),
    Metric(
        "rmse",
        "RMSE",
        lambda of: of.rmse,
        "Root mean squared error, in the data's units.",
        higher_is_better=False,
        unit="number",
        bounds=(0.0, math.inf),
        tasks=("regression",),
    ),
    Metric(
        "spearman",
        "Spearman correlation",
        lambda of: of.spearman,
        "Rank correlation of predicted and true numbers, from -1 to 1.",
        short="Spearman",
        bounds=(-1.0, 1.0),
        tasks=("regression",),
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def is_share(name: str) -> bool:
    """Whether a metric is a proportion that people read in percent."""
    return name in METRICS and METRICS[name].unit == "percent"


NUMBER_METRICS = ("r2", "mae", "rmse", "spearman")
"""The metrics of each predicted number, the fields of ``NumberMetrics``."""


def number_texts(of: NumberMetrics) -> dict[str, str]:
    """The metrics of a predicted number, by name, as text."""
    return {name: formatted_score(name, getattr(of, name)) for name in NUMBER_METRICS}


def headline(evaluated: Evaluated) -> str:
    """The metric that the task is judged by, as text: "accuracy 95.0%"."""
    return f"{metric_label(evaluated.score)} {score_text(evaluated)}"


def score_text(evaluated: Evaluated) -> str:
    """The value of the metric that the task is judged by."""
    value = METRICS[evaluated.score].value(evaluated) if evaluated.score in METRICS else None
    return formatted_score(evaluated.score, value) or "undefined"


def interval_text(evaluated: Evaluated) -> str:
    """The 95 % interval of the accuracy as text, "91.2% to 96.0%"; "" where there is none."""
    interval = evaluated.accuracy_interval
    return f"{interval[0]:.1%} to {interval[1]:.1%}" if interval else ""


def named_interval(evaluated: Evaluated) -> str:
    """``interval_text`` in a sentence: "95 % interval 91.2% to 96.0%"."""
    text = interval_text(evaluated)
    return text and f"95 % interval {text}"


def formatted_score(name: str, value: float | None) -> str:
    """A metric's value by its name, as text; "" for none. Names of other versions get three decimals."""
    if value is None:
        return ""
    return METRICS[name].format(value) if name in METRICS else f"{value:.3f}"


_LONGEST = 40  # characters of a name that this version does not know


def metric_label(name: str) -> str:
    """A metric by its name, as sentences write it; names of other versions are made printable."""
    return METRICS[name].label if name in METRICS else printable(name.replace("_", " "))[:_LONGEST]


def compute_metrics(of: object, task: str = "single") -> dict[str, float | None]:
    """Compute all metrics of a task, by name."""
    return {name: metric.compute(of) for name, metric in METRICS.items() if task in metric.tasks}


def formatted_metrics(evaluated: Evaluated, *, short: bool = False) -> dict[str, str]:
    """The metrics of an evaluation besides its score, as text, by label or ``short`` heading."""
    values = {metric: metric.value(evaluated) for name, metric in METRICS.items() if name != evaluated.score}
    return {
        metric.heading if short else metric.label: metric.format(value)
        for metric, value in values.items()
        if value is not None
    }
