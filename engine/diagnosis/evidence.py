"""What the rules of a diagnosis look at: the figures of a run, epoch by epoch. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from engine.config.schema import RunConfig
from engine.runs import commands
from engine.runs import events as p
from engine.runs.state import RunState, changes_of_settings, in_force
from engine.warning_codes import WarningCode

_HEAD = "head"  # what the new classifier is called among the stages


@dataclass(frozen=True)
class EpochFigures:
    """An epoch; losses are NaN where they were not finite.

    ``rate``: the largest group's, at the epoch's end; ``moved``: how far the weights of the new head are from their
    start, relative to their norm; both None where the log does not tell.
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
    """A run as its events tell it so far, with the settings in force."""

    def __init__(self, state: RunState, config: RunConfig) -> None:
        self.state = state
        self.config = in_force(config, state)
        self.classes = len(state.data.classes) if state.data else 0
        self.over = state.finished is not None

    @cached_property
    def epochs(self) -> list[EpochFigures]:
        """The epochs since the last change of how it trains: what was done about a finding has its time to work."""
        moved = {change.step: change.stages.get(_HEAD) for change in self.state.changes}
        begun = [0, *(epoch.step for epoch in self.state.epochs)]  # the step before the first of each
        changed = self._change.step if self._change else 0
        return [
            _figures(epoch, self._rate(epoch.step), moved.get(epoch.step))
            for before, epoch in zip(begun, self.state.epochs, strict=False)
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
        """How often since that change there was a warning of one of these codes."""
        since = self._change.seq if self._change else 0
        return sum(warning.code in codes and warning.seq >= since for warning in self.state.warnings)

    @property
    def last(self) -> EpochFigures:
        """The latest epoch."""
        return self.epochs[-1]

    @property
    def guessing(self) -> float:
        """The loss of a network that gives every class the same probability, whatever their weights in the loss."""
        return math.log(max(self.classes, 2))

    @property
    def above_chance(self) -> float:
        """An accuracy that says that something was learned: a twentieth of the way from always answering the
        most frequent class to 1."""
        counts = self.class_counts("train") or [1] * self.classes
        most = max(counts) / max(sum(counts), 1)
        return most + (1 - most) / 20

    @property
    def steps(self) -> int:
        """Steps up to the end of the last epoch."""
        return self.state.epochs[-1].step if self.state.epochs else 0

    @property
    def warming_up(self) -> bool:
        """Whether the rate has not come near its peak yet, as far as the log tells."""
        return not any(epoch.rate and epoch.rate > self.config.optimizer.lr / 2 for epoch in self.epochs)

    @property
    def left(self) -> int:
        """Epochs that are still to come."""
        return 0 if self.over else max(self.state.epochs_planned - len(self.state.epochs), 0)

    def images(self, split: str) -> int:
        """Images in a split."""
        return self.state.data.counts.get(split, 0) if self.state.data else 0

    def class_counts(self, split: str) -> Sequence[int]:
        """Images of each class in a split; empty where the log does not tell."""
        return self.state.data.class_counts.get(split, []) if self.state.data else []

    def deviation(self, accuracy: float, split: str = "val") -> float:
        """The standard deviation of a share of that size over the images of a split."""
        return math.sqrt(max(accuracy * (1 - accuracy), 0.0) / max(self.images(split), 1))

    def _rate(self, step: int) -> float | None:
        rates = [rates.at(step) for rates in self.state.steps.rates().values()]
        return max((rate for rate in rates if rate is not None), default=None)


def mean(values: Iterable[float]) -> float:
    """The mean; infinite where the sum is too large for a float, which ``statistics.fmean`` fails at."""
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _figures(epoch: p.Epoch, rate: float | None, moved: float | None) -> EpochFigures:
    return EpochFigures(
        number=epoch.epoch,
        train_loss=p.restore(epoch.train_loss, None),
        train_accuracy=epoch.train_accuracy,
        val_loss=p.restore(epoch.val_loss, None),
        val_accuracy=epoch.val_accuracy,
        balanced_accuracy=epoch.val_balanced_accuracy,
        label_rank=epoch.val_label_rank,
        batch_norms=epoch.batch_norms,
        rate=rate,
        moved=moved,
    )
