"""The evidence for a diagnosis: a run's metrics by epoch. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from engine.config.schema import RunConfig
from engine.runs import commands
from engine.runs import events as p
from engine.runs.json_floats import decode_float
from engine.runs.state import RunState, changes_of_settings, in_force
from engine.warning_codes import WarningCode

_HEAD = "head"  # the new classifier's name among the stages


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of one epoch; a non-finite loss is NaN.

    - ``rate``: the largest learning rate of any parameter group at the end of the epoch.
    - ``moved``: the distance of the new head's weights from their start, relative to their norm.

    Both are None where the log does not have them.
    """

    number: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    balanced_accuracy: float | None
    label_rank: float | None
    batch_norms: int
    rate: float | None
    moved: float | None


class Evidence:
    """A run's state so far, with its current settings."""

    def __init__(self, state: RunState, config: RunConfig) -> None:
        self.state = state
        self.config = in_force(config, state)
        # The rules are about one class per image: accuracies, and the loss at chance level.
        self.classes = len(state.data.classes) if state.data and state.data.task == "single" else 0
        self.over = state.finished is not None

    @cached_property
    def epochs(self) -> list[EpochMetrics]:
        """The epochs since the optimizer or freeze plan last changed, so that a remedy has time to work."""
        moved = {change.step: change.stages.get(_HEAD) for change in self.state.changes}
        starts = [0, *(epoch.step for epoch in self.state.epochs)]  # the step before the first of each epoch
        changed = self._change.step if self._change else 0
        return [
            _epoch_metrics(epoch, self._rate(epoch.step), moved.get(epoch.step))
            for before, epoch in zip(starts, self.state.epochs, strict=False)
            if before >= changed
        ]

    @cached_property
    def _change(self) -> p.Phase | p.CommandApplied | None:
        """The latest change of the optimizer's settings or the freeze plan, by a phase of the recipe or a command."""
        changes = [
            change
            for change in changes_of_settings(self.state)
            if isinstance(change, p.Phase)
            or (isinstance(change.command, commands.Set) and change.command.key.startswith(("optimizer.", "freeze.")))
        ]
        return changes[-1] if changes else None

    def warned(self, *codes: WarningCode) -> int:
        """How many warnings with one of these codes came since that change."""
        since = self._change.seq if self._change else 0
        return sum(warning.code in codes and warning.seq >= since for warning in self.state.warnings)

    @property
    def last(self) -> EpochMetrics:
        """The latest epoch."""
        return self.epochs[-1]

    @property
    def chance_loss(self) -> float:
        """The loss at chance level: every class has the same probability, whatever its weight in the loss."""
        return math.log(max(self.classes, 2))

    @property
    def above_chance(self) -> float:
        """The accuracy above which the network has learned something.

        It lies a twentieth of the way from always predicting the most frequent class to 1.
        """
        counts = self.class_counts("train") or [1] * self.classes
        most = max(counts) / max(sum(counts), 1)
        return most + (1 - most) / 20

    @property
    def steps(self) -> int:
        """The number of steps up to the end of the last epoch."""
        return self.state.epochs[-1].step if self.state.epochs else 0

    @property
    def warming_up(self) -> bool:
        """Whether the learning rate has stayed at or below half of its peak, as far as the log has it."""
        return not any(epoch.rate and epoch.rate > self.config.optimizer.lr / 2 for epoch in self.epochs)

    @property
    def left(self) -> int:
        """The number of epochs that remain."""
        return 0 if self.over else max(self.state.epochs_planned - len(self.state.epochs), 0)

    def images(self, split: str) -> int:
        """The number of images in a split."""
        return self.state.data.counts.get(split, 0) if self.state.data else 0

    def class_counts(self, split: str) -> Sequence[int]:
        """The number of images of each class in a split; empty where the log does not have it."""
        return self.state.data.class_counts.get(split, []) if self.state.data else []

    def deviation(self, accuracy: float, split: str = "val") -> float:
        """The binomial standard deviation of ``accuracy`` over the images of a split."""
        return math.sqrt(max(accuracy * (1 - accuracy), 0.0) / max(self.images(split), 1))

    def _rate(self, step: int) -> float | None:
        rates = [rates.at(step) for rates in self.state.steps.rates().values()]
        return max((rate for rate in rates if rate is not None), default=None)


def mean(values: Iterable[float]) -> float:
    """The mean; infinite where the sum overflows a float, where ``statistics.fmean`` raises."""
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _epoch_metrics(epoch: p.Epoch, rate: float | None, moved: float | None) -> EpochMetrics:
    return EpochMetrics(
        number=epoch.epoch,
        train_loss=decode_float(epoch.train_loss, None),
        train_accuracy=epoch.train_accuracy or 0.0,
        val_loss=decode_float(epoch.val_loss, None),
        val_accuracy=epoch.val_accuracy or 0.0,
        balanced_accuracy=epoch.val_balanced_accuracy,
        label_rank=epoch.val_label_rank,
        batch_norms=epoch.batch_norms,
        rate=rate,
        moved=moved,
    )
