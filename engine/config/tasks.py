"""The tasks that data.task takes: adding one is adding a module and an entry here. Imports no torch.

``SCORES`` has the validation metrics that train.score takes: adding one is adding an entry here, and its name to the
tasks that compute it after each epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec


class TaskSpec(msgspec.Struct, frozen=True):
    """A run's task and what it predicts.

    ``task``: its name in ``TASKS``. ``classes``: names of the classes, labels or numbers, in order.
    ``mean`` and ``std``: of each number over the training images. ``thresholds``: the probability from which each
    label is predicted.
    """

    task: str
    classes: list[str]
    mean: list[float] = []
    std: list[float] = []
    thresholds: list[float] = []


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """``help``: what the network predicts. ``target``: its class, an ``engine.compute.task.Task``.

    ``score``: the validation metric that makes an epoch the best unless train.score names another; ``scores``: the
    others that it may name, besides the loss. All of them are in ``SCORES``. ``curve``: the metric that is computed
    for training images, too. ``least_classes``: fewer can't be learned. ``noun``: what the network predicts, in the
    singular. ``losses``: the function of each of its losses by name in ``LOSSES``, the default first; it takes
    the task's spec, [train], the training images' targets on the device and the weight of auxiliary heads, and returns
    an ``engine.compute.task.Criterion``. ``reader``: a function of label columns and [data] that returns the targets or
    raises LabelError; importing it imports no torch, since the app counts images with it.
    ``correct``: what McNemar's test takes for correct where an image has no single class.
    ``outputs``: the network's outputs for so many classes, labels or numbers.
    ``shows``: what can be counted of an image: its class, the labels whose target is 1, or, of numbers, nothing.
    ``unused_settings``: those that mean nothing for the task, and that have to keep their defaults.
    """

    help: str
    target: str
    score: str
    curve: str
    noun: str
    losses: Mapping[str, str]
    least_classes: int = 1
    reader: str = "engine.tasks.class_column:read_classes"
    scores: tuple[str, ...] = ()
    unused_settings: tuple[str, ...] = ()
    correct: str = ""
    shows: Literal["class", "labels", "nothing"] = "class"
    outputs: Callable[[int], int] = lambda classes: classes

    def counted(self, count: int) -> str:
        """So many of what the network predicts: "3 classes"."""
        return f"{count} {self.noun if count == 1 else self.plural}"

    @property
    def plural(self) -> str:
        """The noun in the plural."""
        return self.noun + ("es" if self.noun.endswith("s") else "s")


TASKS = {
    "single": TaskEntry(
        "one class per image",
        "engine.tasks.single:SingleLabel",
        score="accuracy",
        curve="accuracy",
        noun="class",
        losses={"cross_entropy": "engine.compute.loss:cross_entropy", "focal": "engine.compute.loss:focal"},
        least_classes=2,
        scores=("balanced_accuracy", "macro_f1", "roc_auc"),
    ),
    "multilabel": TaskEntry(
        "any number of labels per image",
        "engine.tasks.multilabel:MultiLabel",
        score="average_precision",
        curve="label_accuracy",
        noun="label",
        losses={
            "cross_entropy": "engine.compute.binary_loss:cross_entropy",
            "focal": "engine.compute.binary_loss:focal",
        },
        reader="engine.tasks.label_sets:read_label_sets",
        scores=("macro_f1", "micro_f1", "label_accuracy", "roc_auc"),
        correct="all labels of an image",
        shows="labels",
    ),
    "ordinal": TaskEntry(
        "one of several ordered classes per image",
        "engine.tasks.ordinal:Ordinal",
        score="quadratic_kappa",
        curve="accuracy",
        noun="rank",
        outputs=lambda ranks: ranks - 1,
        losses={"corn": "engine.compute.corn:corn"},
        least_classes=2,
        reader="engine.tasks.rank_column:read_ranks",
        unused_settings=("train.label_smoothing", "train.mixup", "train.cutmix"),
        scores=("mae", "accuracy", "balanced_accuracy"),
    ),
    "regression": TaskEntry(
        "one or more numbers per image",
        "engine.tasks.regression:Regression",
        score="r2",
        curve="mae",
        noun="number",
        losses={name: f"engine.compute.number_loss:{name}" for name in ("mse", "l1", "huber")},
        reader="engine.tasks.number_columns:read_numbers",
        scores=("mae", "rmse", "spearman"),
        unused_settings=(
            "train.label_smoothing",
            "train.class_weights",
            "train.sampler",
            "train.mixup",
            "train.cutmix",
        ),
        shows="nothing",
    ),
}
AUTO = "auto"
"""The value of data.task with which the dataset decides, and of train.score and train.loss with which the task does."""

LOSS = "loss"
SCORES: dict[str, Literal["max", "min"]] = {
    "accuracy": "max",
    "balanced_accuracy": "max",
    "macro_f1": "max",
    "micro_f1": "max",
    "label_accuracy": "max",
    "roc_auc": "max",
    "average_precision": "max",
    "quadratic_kappa": "max",
    "r2": "max",
    "mae": "min",
    "rmse": "min",
    "spearman": "max",
    LOSS: "min",
}
"""Validation metrics that can make an epoch the best; "min": a lower one is better."""


def score_of(task: str, wanted: str) -> str:
    """The score of a run: the one that train.score names, or the task's own. Raises ValueError where it has none."""
    entry = TASKS[task]
    known = (entry.score, *entry.scores, LOSS)
    if wanted != AUTO and wanted not in known:
        raise ValueError(
            f'train.score = "{wanted}" is no score of data.task = "{task}"; set it to {", ".join(known[:-1])} or {LOSS}'
        )
    return entry.score if wanted == AUTO else wanted


def loss_target(task: str, loss: str) -> str:
    """The function of a task's loss, which train.loss names. Raises ValueError for the loss of another task."""
    losses = TASKS[task].losses
    if loss == AUTO:
        return next(iter(losses.values()))
    if loss not in losses:
        raise ValueError(
            f'train.loss = "{loss}" is no loss for data.task = "{task}"; choose {", ".join((AUTO, *losses))}'
        )
    return losses[loss]


def objective(score: str, value: float) -> float:
    """A score, negated where a lower one is better, so that the highest is the best. Its own inverse."""
    return -value if SCORES.get(score) == "min" else value
