"""Divides images at random so that each group, such as a patient, stays in one part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from engine.data.source import Sample

Part = TypeVar("Part", str, int)


def group_split(
    indices: Sequence[int],
    samples: Sequence[Sample],
    strata: Sequence[int],
    shares: Mapping[Part, float],
    seed: int,
) -> dict[Part, list[int]]:
    """Divides ``indices`` by ``shares``, which sum to 1; groups stay whole, ``strata`` are balanced.

    ``strata``: of each sample. Goes through the groups from large to small, equal ones in random order, and puts each
    into the part where the shares of the strata then deviate least from their targets, as scikit-learn's
    StratifiedGroupKFold does for equal folds.
    """
    members: dict[str, list[int]] = {}
    for i in indices:
        members.setdefault(samples[i].group or f"\0{i}", []).append(i)  # an empty cell is a group of its own
    columns = {stratum: at for at, stratum in enumerate(sorted({strata[i] for i in indices}))}
    counts = np.zeros((len(members), len(columns)))
    for row, group in zip(counts, members.values(), strict=True):
        for i in group:
            row[columns[strata[i]]] += 1
    targets = np.array(list(shares.values()))
    total = counts.sum(0)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    order = shuffled[np.argsort(-counts[shuffled].sum(1), kind="stable")]
    groups = list(members.values())
    filled = np.zeros((len(targets), counts.shape[1]))
    parts: dict[Part, list[int]] = {name: [] for name in shares}
    names = list(shares)
    for group in order:
        before = ((filled / total - targets[:, None]) ** 2).sum(1)
        after = (((filled + counts[group]) / total - targets[:, None]) ** 2).sum(1)
        best = int(np.argmin(after - before))
        filled[best] += counts[group]
        parts[names[best]] += groups[group]
    return {name: sorted(chosen) for name, chosen in parts.items()}
