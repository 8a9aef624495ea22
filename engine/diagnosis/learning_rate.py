"""The rules for learning rates: too high, too low, or high for too long."""

from __future__ import annotations

import math

from engine.diagnosis.evidence import Evidence, mean
from engine.diagnosis.finding import Finding, Remedy, loss

_WORSE = 1.05  # times the chance-level loss, about where a new head begins
_MOVED = 0.5  # of its own norm: the head has left its random start
_FAR = 10.0
_RISES = 1.5
_STAYS = 0.05  # of its own norm: the head is still at its random start
_STEPS = 30
_FALLS = 0.8  # of the first training loss
_FLAT = 0.97  # of the training loss of the window before
_WINDOW = 5  # epochs
_LEARNS, _MEMORISED = 0.5, 0.98  # accuracies


def too_high(seen: Evidence) -> Finding | None:
    """Finds a learning rate at which training diverges.

    One of these holds; chance level is a loss of ln(classes):

    - A loss or gradient became non-finite.
    - Both losses are above chance level in two epochs in a row, though the head has moved by half its norm.
    - Validation loss is above chance level in half of the epochs, and the head is ten times its norm from its start.
    - Accuracy is at chance level in three epochs in a row, and the head is ten times its norm from its start.
    - Validation loss is above chance level in half of the epochs, and training loss no longer falls.
    - Training loss is half above the mean of its best three epochs.

    Gradient descent diverges above 2 / (largest curvature) (LeCun et al. 1998, "Efficient BackProp", 4.6). Clipping
    and normalisation keep such a loss finite, but it no longer falls.
    """
    why = _nonfinite(seen) or _worse_than_chance(seen) or _unsteady(seen) or _rises(seen)
    if not why:
        return None
    rate = seen.config.optimizer.lr
    lower = _rate(rate / 10, "lower")
    return Finding("learning rate too high", f"{why} (lr {rate:g})", lower, lower)


def too_low(seen: Evidence) -> Finding | None:
    """Finds a learning rate at which the new head hardly moves.

    After two epochs and 30 steps, without warm-up, both hold:

    - The new head is within 5 % of its norm from its random start.
    - Training loss is above 80 % of that of the first epoch.

    A layer of random weights is useless until it has moved by about its own norm. Heads that learned something were
    30 % or more from their start after one or two epochs (``tests.benchmarks.diagnoses``).
    """
    if len(seen.epochs) < 2 or seen.steps < _STEPS or seen.warming_up:
        return None
    first, last = seen.epochs[0], seen.last
    if last.moved is None or last.moved >= _STAYS or not last.train_loss > _FALLS * first.train_loss:
        return None
    rate = seen.config.optimizer.lr
    higher = _rate(rate * 10, "raise")
    return Finding(
        "learning rate too low",
        f"head moved {last.moved:.1%} in {last.number} epochs, "
        f"train loss {loss(first.train_loss)} to {loss(last.train_loss)} (lr {rate:g})",
        higher,
        higher,
    )


def plateau(seen: Evidence) -> Finding | None:
    """Finds a loss that stays level at a learning rate that is still high.

    All of these hold:

    - Over five epochs training loss is at least 97 % of that of the five before, and validation is no better.
    - Training accuracy is from 50 to 98 %, so there is something left to learn.
    - The learning rate is above half of its peak.

    A constant learning rate keeps the weights at a distance from the minimum that grows with the rate. A smaller one
    lowers the loss further (Robbins and Monro 1951; Bottou et al. 2018, "Optimization Methods", theorem 4.6).
    """
    epochs = seen.epochs
    if len(epochs) < 2 * _WINDOW:
        return None
    before, after = epochs[-2 * _WINDOW : -_WINDOW], epochs[-_WINDOW:]
    rate, peak = seen.last.rate, max((epoch.rate or 0.0 for epoch in epochs), default=0.0)
    accuracy = mean(epoch.train_accuracy for epoch in after)
    if not rate or rate <= peak / 2 or not _LEARNS < accuracy < _MEMORISED:
        return None
    losses = mean(epoch.train_loss for epoch in before), mean(epoch.train_loss for epoch in after)
    accuracies = max(epoch.val_accuracy for epoch in before), max(epoch.val_accuracy for epoch in after)
    if not losses[1] > _FLAT * losses[0] or accuracies[1] > accuracies[0] + seen.deviation(accuracies[0]):
        return None
    base = seen.config.optimizer.lr
    lower = _rate(base / 10, "lower")
    fall = Remedy("use the cosine schedule", {"schedule.name": "cosine"})
    return Finding(
        "plateau",
        f"train loss still at {loss(losses[1])}, {_WINDOW} epochs before {loss(losses[0])} (lr {base:g})",
        lower if seen.config.schedule.name == "cosine" else fall,
        lower,
    )


def _rate(rate: float, verb: str) -> Remedy:
    rate = min(float(f"{rate:.2g}"), 100.0)
    return Remedy(f"{verb} the learning rate to {rate:g}", {"optimizer.lr": rate})


def _nonfinite(seen: Evidence) -> str:
    last = seen.state.steps.last
    if any(warning.code == "weights_not_finite" for warning in seen.state.warnings):  # no learning rate helps
        return ""
    if last and last.nonfinite:
        return f"loss became {last.nonfinite} at step {last.step}"
    count = seen.warned("step_skipped", "rolled_back")
    return f"loss or gradient non-finite in {count} steps" if count else ""


def _worse_than_chance(seen: Evidence) -> str:
    limit, last = _WORSE * seen.chance_loss, seen.epochs[-2:]
    if len(last) < 2 or (seen.last.moved or 0.0) < _MOVED:
        return ""
    if any(epoch.val_loss <= limit or epoch.train_loss <= limit for epoch in last):  # NaN counts as above
        return ""
    return f"train loss {loss(seen.last.train_loss)}, chance level {seen.chance_loss:.2f}"


def _unsteady(seen: Evidence) -> str:
    limit, epochs = _WORSE * seen.chance_loss, seen.epochs
    moved = seen.last.moved if epochs else None
    if len(epochs) < 3 or moved is None:
        return ""
    if moved > _FAR and all(max(e.train_accuracy, e.val_accuracy) < seen.above_chance for e in epochs[-3:]):
        return f"head moved {moved:.0f} times its norm, val accuracy {seen.last.val_accuracy:.0%}, chance level"
    above = sum(not epoch.val_loss <= limit for epoch in epochs)
    if above < len(epochs) / 2 or (moved < _FAR and not (moved > _MOVED and _flat(seen, 3))):
        return ""
    return f"val loss above chance level ({seen.chance_loss:.2f}) in {above} of {len(epochs)} epochs"


def _flat(seen: Evidence, window: int) -> bool:
    """Whether the mean training loss of the last epochs is hardly below that of the window before."""
    losses = [epoch.train_loss for epoch in seen.epochs[-2 * window :]]
    return len(losses) == 2 * window and not mean(losses[window:]) <= _FLAT * mean(losses[:window])


def _rises(seen: Evidence) -> str:
    losses = [epoch.train_loss for epoch in seen.epochs]
    if len(losses) < 6 or any(map(math.isnan, losses)):
        return ""
    best = min(mean(losses[at : at + 3]) for at in range(len(losses) - 5))
    now = mean(losses[-3:])
    if now <= _RISES * best or now < 0.3 * seen.chance_loss:
        return ""
    return f"train loss rose from {loss(best)} (its best three epochs) to {loss(now)} (the last three)"
