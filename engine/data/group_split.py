"""Splits images at random so that each group, such as a patient, stays in one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engine.data.source import Sample


def group_split(
    indices: Sequence[int], samples: Sequence[Sample], fractions: Mapping[str, float], seed: int, *, stratify: bool
) -> dict[str, list[int]]:
    """Splits ``indices`` by ``fractions``, the rest to "train"; groups stay whole, classes balanced if ``stratify``.

    Goes through the groups from large to small, equal ones in random order, and puts each into the split where the
    class shares then deviate least from their targets, as scikit-learn's StratifiedGroupKFold does for equal folds.
    """
    members: dict[str, list[int]] = {}
    for i in indices:
        members.setdefault(samples[i].group or f"\0{i}", []).append(i)  # an empty cell is a group of its own
    labels = {label: at for at, label in enumerate(sorted({samples[i].label for i in indices}))} if stratify else {}
    counts = np.zeros((len(members), max(len(labels), 1)))
    for row, group in zip(counts, members.values(), strict=True):
        for i in group:
            row[labels.get(samples[i].label, 0)] += 1
    names = ["train", *fractions]
    targets = np.array([1 - sum(fractions.values()), *fractions.values()])
    total = counts.sum(0)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    order = shuffled[np.argsort(-counts[shuffled].sum(1), kind="stable")]
    groups = list(members.values())
    filled = np.zeros((len(names), counts.shape[1]))
    splits: dict[str, list[int]] = {name: [] for name in names}
    for group in order:
        before = ((filled / total - targets[:, None]) ** 2).sum(1)
        after = (((filled + counts[group]) / total - targets[:, None]) ** 2).sum(1)
        best = int(np.argmin(after - before))
        filled[best] += counts[group]
        splits[names[best]] += groups[group]
    return {name: sorted(chosen) for name, chosen in splits.items()}
