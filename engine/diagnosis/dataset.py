"""The rules for the dataset: noisy labels and class imbalance."""

from __future__ import annotations

import math

from engine.diagnosis.evidence import Evidence, mean
from engine.diagnosis.finding import Finding, Remedy

_EPOCHS = 3
_CHANCE = 0.5
_RANK = 0.25
_MISTAKES = 30
_UNEVEN = 4
_BEHIND = 0.08


def noisy_labels(seen: Evidence) -> Finding | None:
    """Finds labels that the network ranks hardly better than chance where it misclassifies the image.

    The label's rank among the classes that were not predicted goes from 0, the second guess, to 1, the last. A correct
    label ranks near 0. A random label ranks anywhere, 0.5 in the mean: networks learn what images have in common
    before they memorise single labels (Arpit et al. 2017). All of these hold over three epochs:

    - The mean rank is above 0.25 by two standard errors of the chance level, over at least 30 misclassified images.
    - Training and validation accuracy are at least 40 % and three times chance level.
    - Validation accuracy no longer rises.

    Two classes have no rank. Labels that are confused in pairs are not found.
    """
    strip = seen.epochs[-_EPOCHS:]
    ranks = [epoch.label_rank for epoch in strip if epoch.label_rank is not None]
    accuracy = mean(epoch.val_accuracy for epoch in strip)
    trained = min(accuracy, mean(epoch.train_accuracy for epoch in strip))
    mistakes = (1 - accuracy) * seen.images("val")
    if len(ranks) < _EPOCHS or mistakes < _MISTAKES or trained < max(0.4, 3 / seen.classes):
        return None
    if strip[-1].val_accuracy > strip[0].val_accuracy + 2 * seen.deviation(accuracy):  # still learning
        return None
    rank = mean(ranks)
    if rank - 2 / math.sqrt(12 * mistakes) < _RANK:  # ranks uniform in 0 … 1 deviate by √(1/12)
        return None
    share = (1 - accuracy) * min(rank / _CHANCE, 1.0)
    return Finding(
        "noisy labels",
        f"as if {share:.0%} were random: misclassified ones rank at {rank:.2f} (second guess 0, chance 0.5)",
        Remedy(
            "smooth labels and stop early",
            {"train.label_smoothing": 0.1, "train.early_stop_patience": 3},
        ),
    )


def imbalance(seen: Evidence) -> Finding | None:
    """Finds a class imbalance that costs accuracy on rare classes.

    All of these hold:

    - The largest class has at least four times the training images of the smallest.
    - The loss has no balanced class weights.
    - Over two epochs balanced accuracy is at least 8 points below accuracy.

    Accuracy rewards predicting frequent classes (Buda et al. 2018, "A systematic study of the class imbalance
    problem").
    """
    counts, strip = [count for count in seen.class_counts("train") if count], seen.epochs[-2:]
    if len(strip) < 2 or len(counts) < 2 or seen.config.train.class_weights == "balanced":
        return None
    behind = [e.val_accuracy - e.balanced_accuracy for e in strip if e.balanced_accuracy is not None]
    if max(counts) < _UNEVEN * min(counts) or len(behind) < 2 or min(behind) < _BEHIND:
        return None
    last = seen.last
    return Finding(
        "class imbalance",
        f"{min(counts):,} to {max(counts):,} images a class; val accuracy {last.val_accuracy:.1%}, "
        f"balanced {last.balanced_accuracy:.1%}",
        Remedy("use balanced class weights", {"train.class_weights": "balanced"}),
    )
