"""The tasks that data.task takes: adding one is adding a module and an entry here. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

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

    ``score``: the validation metric that makes an epoch the best, the highest one. ``curve``: the metric that is
    computed for training images, too. ``least_classes``: fewer can't be learned. ``noun``: what the network predicts,
    in the singular. ``reader``: a function of label columns and [data] that returns the targets or raises LabelError;
    importing it imports no torch, since the app counts images with it. ``unused_settings``: those that mean nothing
    for it, and that have to keep their defaults.
    """

    help: str
    target: str
    score: str
    curve: str
    noun: str
    least_classes: int = 1
    reader: str = "engine.tasks.class_column:read_classes"
    unused_settings: tuple[str, ...] = ()

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
        least_classes=2,
    ),
    "multilabel": TaskEntry(
        "any number of labels per image",
        "engine.tasks.multilabel:MultiLabel",
        score="average_precision",
        curve="label_accuracy",
        noun="label",
        reader="engine.tasks.label_sets:read_label_sets",
    ),
    "regression": TaskEntry(
        "one or more numbers per image",
        "engine.tasks.regression:Regression",
        score="r2",
        curve="mae",
        noun="number",
        reader="engine.tasks.number_columns:read_numbers",
        unused_settings=("train.label_smoothing", "train.class_weights"),
    ),
}
AUTO = "auto"
"""The value of data.task with which the dataset decides."""
