"""Divides images at random, stratum by stratum, and groups as wholes: by shares, or into equal folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.data.group_split import group_split
from engine.data.source import Sample


class Images(NamedTuple):
    """The images to divide: ``indices`` into ``samples``, of which each has a stratum to be balanced."""

    indices: Sequence[int]
    samples: Sequence[Sample]
    strata: Sequence[int]

    @property
    def has_groups(self) -> bool:
        """Whether any sample of the dataset belongs to a group."""
        return any(sample.group for sample in self.samples)

    def shuffled(self, seed: int) -> list[list[int]]:
        """The indices of each stratum, in random order."""
        random = np.random.default_rng(seed)
        members: dict[int, list[int]] = {}
        for i in self.indices:
            members.setdefault(self.strata[i], []).append(i)
        return [
            [members[stratum][at] for at in random.permutation(len(members[stratum]))] for stratum in sorted(members)
        ]


def split_by_shares(images: Images, fractions: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """Splits ``images`` by ``fractions``, the rest to "train".

    scikit-learn's stratified split refuses classes of one image; here that image goes to training.
    """
    if images.has_groups:
        return group_split(*images, {"train": 1 - sum(fractions.values()), **fractions}, seed)
    splits: dict[str, list[int]] = {"train": [], **{name: [] for name in fractions}}
    for shuffled in images.shuffled(seed):
        rest = shuffled
        for name, fraction in fractions.items():
            count = min(round(fraction * len(shuffled)), max(len(rest) - 1, 0))
            splits[name] += rest[:count]
            rest = rest[count:]
        splits["train"] += rest
    return {name: sorted(members) for name, members in splits.items()}


def split_into_folds(images: Images, folds: int, seed: int) -> list[list[int]]:
    """Splits ``images`` into ``folds`` parts of nearly equal size, of which each stratum has nearly equal shares."""
    if images.has_groups:
        return list(group_split(*images, dict.fromkeys(range(folds), 1 / folds), seed).values())
    dealt = [i for shuffled in images.shuffled(seed) for i in shuffled]
    return [sorted(dealt[fold::folds]) for fold in range(folds)]
