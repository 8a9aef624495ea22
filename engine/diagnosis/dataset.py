"""The images: labels that are wrong, classes that are rare."""

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
    """Where the network misses a label, it is hardly a better guess of it than chance.

    The classes that were not answered have places from 0, the second guess, to 1, the last. A sound label that was
    missed is near the front; one that was given at random is anywhere, 0.5 in the mean, since networks learn what
    images have in common before they learn single labels by heart (Arpit et al. 2017). The rule: over three epochs
    the mean place is above 0.25 by two standard errors of what chance would give, over at least 30 mistakes, and at
    least 40 % are right, three times chance, in training and in validation, where it no longer rises. With two classes
    there are no places; labels that are confused in pairs are not found.
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
    if rank - 2 / math.sqrt(12 * mistakes) < _RANK:  # places that are even between 0 and 1 deviate by √(1/12)
        return None
    share = (1 - accuracy) * min(rank / _CHANCE, 1.0)
    return Finding(
        "noisy labels",
        f"as if {share:.0%} were random: missed ones lie at {rank:.2f} (second guess 0, chance 0.5)",
        Remedy(
            "smooth labels and stop early",
            {"train.label_smoothing": 0.1, "train.early_stop_patience": 3},
        ),
    )


def imbalance(seen: Evidence) -> Finding | None:
    """The largest class has four times the training images of the smallest or more, classes do not weigh the same in
    the loss, and over two epochs the mean of the classes' accuracies is at least 8 points below the accuracy.

    Where class frequencies differ, accuracy rewards answering the frequent ones (Buda et al. 2018, "A systematic study
    of the class imbalance problem").
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
        Remedy("weigh rare classes more", {"train.class_weights": "balanced"}),
    )
