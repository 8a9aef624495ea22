"""Learning rates: too high, too low, or high for too long."""

from __future__ import annotations

import math

from engine.diagnosis.evidence import Evidence, mean
from engine.diagnosis.finding import Finding, Remedy, loss

_WORSE = 1.05  # times the loss of guessing: a fresh head begins about there
_MOVED = 0.5  # of its own norm, a head is no longer what chance made it
_TOSSED = 10.0
_RISES = 1.5
_STAYS = 0.05  # of its own norm, a head is still what chance made it
_STEPS = 30
_FALLS = 0.8  # of the first training loss
_FLAT = 0.97  # of the training loss of as many epochs before
_WINDOW = 5  # epochs
_LEARNS, _BY_HEART = 0.5, 0.98  # accuracies


def too_high(seen: Evidence) -> Finding | None:
    """Numbers exploded; or weights have moved and two epochs in a row have both losses above that of guessing,
    ln(classes); or the validation loss is above it in half of the epochs, or accuracy at chance in three in a row, and
    the head is ten times its norm from its start; or the former, and the training loss no longer falls; or the training
    loss rises, by half over its best three epochs.

    Above 2 / (largest curvature) gradient descent diverges (LeCun et al. 1998, "Efficient BackProp", 4.6); clipping and
    normalisation keep such a loss finite, but it no longer falls.
    """
    why = _exploded(seen) or _worse_than_guessing(seen) or _unsteady(seen) or _rises(seen)
    if not why:
        return None
    rate = seen.config.optimizer.lr
    lower = _rate(rate / 10, "lower")
    return Finding("rate too high", f"{why}, at rate {rate:g}", lower, lower)


def too_low(seen: Evidence) -> Finding | None:
    """After two epochs and 30 steps, the warm-up left out, the new head is within 5 % of its norm from where chance put
    it, and the training loss has not come below 80 % of where it began.

    A layer of random weights has to travel about its own norm before it is of use: heads that learned something were
    30 % and more from their start after an epoch or two (``tests.benchmarks.diagnoses``).
    """
    if len(seen.epochs) < 2 or seen.steps < _STEPS or seen.warming_up:
        return None
    first, last = seen.epochs[0], seen.last
    if last.moved is None or last.moved >= _STAYS or not last.train_loss > _FALLS * first.train_loss:
        return None
    rate = seen.config.optimizer.lr
    higher = _rate(rate * 10, "raise")
    return Finding(
        "rate too low",
        f"head moved {last.moved:.1%} in {last.number} epochs, "
        f"train loss {loss(first.train_loss)} to {loss(last.train_loss)}, at rate {rate:g}",
        higher,
        higher,
    )


def plateau(seen: Evidence) -> Finding | None:
    """Over five epochs the training loss was at least 97 % of that of the five before and validation was no better;
    there is something left to learn, training accuracy being from 50 to 98 %, and the rate is above half of its peak.

    Steps of a constant size keep a network at a distance from the minimum that grows with the rate; with smaller ones
    the loss falls further (Robbins and Monro 1951; Bottou et al. 2018, "Optimization Methods", theorem 4.6).
    """
    epochs = seen.epochs
    if len(epochs) < 2 * _WINDOW:
        return None
    before, after = epochs[-2 * _WINDOW : -_WINDOW], epochs[-_WINDOW:]
    rate, peak = seen.last.rate, max((epoch.rate or 0.0 for epoch in epochs), default=0.0)
    right = mean(epoch.train_accuracy for epoch in after)
    if not rate or rate <= peak / 2 or not _LEARNS < right < _BY_HEART:
        return None
    losses = mean(epoch.train_loss for epoch in before), mean(epoch.train_loss for epoch in after)
    accuracies = max(epoch.val_accuracy for epoch in before), max(epoch.val_accuracy for epoch in after)
    if not losses[1] > _FLAT * losses[0] or accuracies[1] > accuracies[0] + seen.deviation(accuracies[0]):
        return None
    base = seen.config.optimizer.lr
    lower = _rate(base / 10, "lower")
    fall = Remedy("let the rate fall", {"schedule.name": "cosine"})
    return Finding(
        "plateau",
        f"train loss still at {loss(losses[1])} ({loss(losses[0])} {_WINDOW} epochs before), at rate {base:g}",
        lower if seen.config.schedule.name == "cosine" else fall,
        lower,
    )


def _rate(rate: float, verb: str) -> Remedy:
    rate = min(float(f"{rate:.2g}"), 100.0)
    return Remedy(f"{verb} the rate to {rate:g}", {"optimizer.lr": rate})


def _exploded(seen: Evidence) -> str:
    last = seen.state.steps.last
    if any(warning.code == "weights_not_finite" for warning in seen.state.warnings):  # no rate helps
        return ""
    if last and last.nonfinite:
        return f"loss became {last.nonfinite} at step {last.step}"
    exploded = seen.warned("step_skipped", "rolled_back")
    return f"{exploded} steps were not finite" if exploded else ""


def _worse_than_guessing(seen: Evidence) -> str:
    limit, last = _WORSE * seen.guessing, seen.epochs[-2:]
    if len(last) < 2 or (seen.last.moved or 0.0) < _MOVED:
        return ""
    if any(epoch.val_loss <= limit or epoch.train_loss <= limit for epoch in last):  # NaN is above
        return ""
    return f"train loss {loss(seen.last.train_loss)}, that of guessing {seen.guessing:.2f}"


def _unsteady(seen: Evidence) -> str:
    limit, epochs = _WORSE * seen.guessing, seen.epochs
    moved = seen.last.moved if epochs else None
    if len(epochs) < 3 or moved is None:
        return ""
    if moved > _TOSSED and all(max(e.train_accuracy, e.val_accuracy) < seen.above_chance for e in epochs[-3:]):
        return f"head moved {moved:.0f} times its norm, val accuracy {seen.last.val_accuracy:.0%}, as by chance"
    above = sum(not epoch.val_loss <= limit for epoch in epochs)
    if above < len(epochs) / 2 or (moved < _TOSSED and not (moved > _MOVED and _flat(seen, 3))):
        return ""
    return f"val loss above that of guessing, {seen.guessing:.2f}, in {above} of {len(epochs)} epochs"


def _flat(seen: Evidence, window: int) -> bool:
    """Whether the mean training loss of the last epochs is hardly below that of as many before them."""
    losses = [epoch.train_loss for epoch in seen.epochs[-2 * window :]]
    return len(losses) == 2 * window and not mean(losses[window:]) <= _FLAT * mean(losses[:window])


def _rises(seen: Evidence) -> str:
    losses = [epoch.train_loss for epoch in seen.epochs]
    if len(losses) < 6 or any(map(math.isnan, losses)):
        return ""
    best = min(mean(losses[at : at + 3]) for at in range(len(losses) - 5))
    now = mean(losses[-3:])
    if now <= _RISES * best or now < 0.3 * seen.guessing:
        return ""
    return f"train loss rose from {loss(best)} (its best three epochs) to {loss(now)} (the last three)"
