"""The rules for overfitting and underfitting."""

from __future__ import annotations

from typing import Any

from engine.diagnosis.evidence import Evidence, mean
from engine.diagnosis.finding import Finding, Remedy, loss

_GENERALIZATION_LOSS = 0.10
_AHEAD = 0.10
_WINDOW = 3  # epochs
_MEMORISED = 0.97
_GAP = 0.12
_LOW = 0.75
_MOVED = 0.2
_FLAT = 0.97


def overfitting(seen: Evidence) -> Finding | None:
    """Finds validation that gets worse while training gets better, or memorised training images.

    Validation gets worse, all of these:

    - The generalization loss, E_val / min E_val - 1 (Prechelt 1998, "Early Stopping - But When?"), is above 10 % in
      three epochs in a row; min E_val is a mean of three epochs.
    - Training loss falls by a third meanwhile.
    - Training accuracy is ahead by 10 points and two standard deviations of validation accuracy.
    - Validation accuracy does not rise by more than its standard deviation.

    Training images are memorised, all of these over five epochs:

    - Mean training accuracy is 97 % or more.
    - Validation accuracy is lower by 12 points and three standard deviations in each epoch.
    - Validation accuracy no longer rises.
    """
    why = _diverges(seen) or _memorised(seen)
    if not why:
        return None
    words: str = "stop early"
    settings: dict[str, Any] = {}
    if seen.config.data.augment == "none":
        words, settings = "augment images and stop early", {"data.augment": "trivial"}
    elif seen.config.head.dropout < 0.5:
        words, settings = "raise the dropout and stop early", {"head.dropout": 0.5}
    settings["train.early_stop_patience"] = 5
    ends = len(seen.state.epochs) + 1
    kept = seen.state.best.epoch if seen.state.best else ends
    now = Remedy(f"end after epoch {ends} (the best is {kept})", {"train.epochs": ends})
    return Finding("overfitting", why, Remedy(words, settings), now if seen.left > 1 else None)


def underfitting(seen: Evidence) -> Finding | None:
    """Finds a network that no longer learns though it has far to go.

    All of these hold over three epochs:

    - Training loss is at least 97 % of that of the three epochs before.
    - Training and validation accuracy are below 75 %, and one of them is above chance level.
    - Training accuracy is not ahead by more than 10 points.
    - The head has moved by a fifth of its norm.
    """
    epochs = seen.epochs
    if len(epochs) < 2 * _WINDOW:
        return None
    before = mean(epoch.train_loss for epoch in epochs[-2 * _WINDOW : -_WINDOW])
    after = mean(epoch.train_loss for epoch in epochs[-_WINDOW:])
    train = mean(epoch.train_accuracy for epoch in epochs[-_WINDOW:])
    val = mean(epoch.val_accuracy for epoch in epochs[-_WINDOW:])
    if seen.last.moved is not None and seen.last.moved < _MOVED:  # the head has hardly trained
        return None
    if not after > _FLAT * before or not seen.above_chance < max(train, val) < _LOW or train > val + 0.1:
        return None
    sentence = f"train loss still at {loss(after)}, train accuracy {train:.0%}, val accuracy {val:.0%}"
    return Finding("underfitting", sentence, *_capacity(seen))


def _capacity(seen: Evidence) -> tuple[Remedy, Remedy | None]:
    """The remedies that raise the network's capacity: for a new run, and for this one."""
    counts = seen.state.parameters
    if seen.config.head.dropout >= 0.5:
        return Remedy("lower the dropout", {"head.dropout": 0.2}), None
    if seen.config.optimizer.weight_decay > 0.1:
        return Remedy("lower the weight decay", {"optimizer.weight_decay": 0.01}), None
    if counts and counts.frozen:
        all_train = Remedy("train all layers", {"freeze.rules": ["train *"]})
        return all_train, all_train
    return Remedy("train for longer", {"train.epochs": 2 * max(len(seen.epochs), 1)}), None


def _diverges(seen: Evidence) -> str:
    epochs = seen.epochs
    if len(epochs) < 2 * _WINDOW:
        return ""
    strips = [epochs[at : at + _WINDOW] for at in range(len(epochs) - _WINDOW + 1)]
    losses = [mean(epoch.val_loss for epoch in strip) for strip in strips]
    lowest = min(range(len(strips) - _WINDOW), key=losses.__getitem__)
    best, now = strips[lowest], strips[-1]
    if not all(epoch.val_loss > (1 + _GENERALIZATION_LOSS) * losses[lowest] for epoch in now):  # NaN counts as above
        return ""
    train_losses = mean(epoch.train_loss for epoch in best), mean(epoch.train_loss for epoch in now)
    accuracies = mean(epoch.val_accuracy for epoch in best), mean(epoch.val_accuracy for epoch in now)
    if train_losses[1] > train_losses[0] * 2 / 3 or accuracies[1] > accuracies[0] + seen.deviation(accuracies[0]):
        return ""
    ahead = mean(epoch.train_accuracy for epoch in now) - accuracies[1]
    if ahead < max(_AHEAD, 2 * seen.deviation(accuracies[1])):
        return ""
    return (
        f"since epochs {best[0].number}-{best[-1].number} val loss {loss(losses[lowest])} to {loss(losses[-1])}, "
        f"train loss {loss(train_losses[0])} to {loss(train_losses[1])}"
    )


def _memorised(seen: Evidence) -> str:
    strip, before = seen.epochs[-5:], seen.epochs[:-5]
    if len(strip) < 5 or not before:
        return ""
    gap = max(_GAP, 3 * seen.deviation(seen.last.val_accuracy))
    if (
        mean(e.train_accuracy for e in strip) < _MEMORISED
        or min(e.train_accuracy - e.val_accuracy for e in strip) < gap
    ):
        return ""
    earlier = max(epoch.val_accuracy for epoch in before)
    if mean(epoch.val_accuracy for epoch in strip) > earlier + seen.deviation(earlier):
        return ""
    train, val = seen.last.train_accuracy, seen.last.val_accuracy
    return f"train accuracy {train:.1%}, val accuracy {val:.1%} and no longer rising"
