"""The same image in training and in another split, as a copy or nearly so: figures would look better than they are.

Each image has a fingerprint: 64 bits that say where it gets brighter from left to right (dHash: Krawetz, "Kind of
like that", 2013), and its greys at 18 × 16. A copy that was resized or compressed again differs in few bits and in
hardly any grey. Bits alone would take images of one simple shape for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.cache.feature_files import Keys
from engine.data.image import Pixels
from engine.data.source import Sample

VERSION = 1  # of what follows, to be raised with every change that makes other fingerprints
_BITS = 3  # in which near duplicates may differ; below 4, so that one of four parts of 16 bits is the same
_GREYS = 3.0  # of 255, the mean difference of the greys that near duplicates may have
_FLAT = 4.0  # images whose greys deviate less say too little to be compared
# What bounds the work: neighbours in the order of a hash that are compared, and pairs whose greys are.
_WINDOW = 64
_MOST = 1_000_000

Fingerprint = npt.NDArray[np.uint8]  # (296,): the hash, then the greys


@dataclass
class Leak:
    """Images of ``split`` that are in training, too: positions, those with the same bytes and those nearly so.

    ``example``: one of them, and the training image that it equals.
    """

    split: str
    copies: set[int] = field(default_factory=set)
    near: set[int] = field(default_factory=set)
    example: tuple[int, int] = (0, 0)


def fingerprint(pixels: Pixels) -> Fingerprint:
    """What a prepared image is recognised by."""
    greys = np.asarray(Image.fromarray(pixels).convert("L").resize((2 * 9, 2 * 8), Image.Resampling.BOX))
    coarse = greys.reshape(8, 2, 9, 2).astype(np.int16).sum((1, 3))
    return np.concatenate([np.packbits(coarse[:, 1:] > coarse[:, :-1]), greys.reshape(-1)])


def find_leaks(splits: dict[str, list[int]], keys: Keys, fingerprints: npt.NDArray[np.uint8]) -> list[Leak]:
    """What validation and test share with training; ``fingerprints`` (n, 296) go with ``keys``.

    Of near duplicates those are found whose hashes lie close in order, which are all but for rows of very many that
    are alike; the work grows as n log n.
    """
    leaks = {name: Leak(name) for name in splits if name != "train"}
    for name, leak in leaks.items():
        _find_copies(leak, splits["train"], splits[name], keys)
    numbers = np.zeros(len(keys), np.int8)
    for number, members in enumerate(splits.values()):
        numbers[members] = number
    trains = list(splits).index("train")
    for a, b in _alike(fingerprints, numbers, trains):
        trained, other = (a, b) if numbers[a] == trains else (b, a)
        leak = leaks[list(splits)[numbers[other]]]
        if other not in leak.copies:
            if not leak.copies and not leak.near:
                leak.example = (other, trained)
            leak.near.add(other)
    return [leak for leak in leaks.values() if leak.copies or leak.near]


def sentence(leaks: Sequence[Leak], splits: dict[str, list[int]], images: Sequence[Sample]) -> str:
    """What to tell of ``leaks``."""
    parts = []
    for leak in leaks:
        kinds = [f"{len(leak.copies):,} as exact copies"] if leak.copies else []
        kinds += [f"{len(leak.near):,} nearly the same"] if leak.near else []
        other, trained = (images[i].key for i in leak.example)
        count = len(leak.copies) + len(leak.near)
        parts.append(
            f"{count:,} of {len(splits[leak.split]):,} {leak.split} images are in train, too "
            f"({' and '.join(kinds)}; e.g. {other} is {trained})"
        )
    return f"{'; '.join(parts)}: figures will look better than they are; remove the copies, or keep them in one split"


def _find_copies(leak: Leak, trained: list[int], members: list[int], keys: Keys) -> None:
    first = {key: i for i, key in zip(reversed(trained), keys[trained[::-1]].tolist(), strict=True)}
    for i, key in zip(members, keys[members].tolist(), strict=True):
        if key in first:
            if not leak.copies:
                leak.example = (i, first[key])
            leak.copies.add(i)


def _alike(fingerprints: npt.NDArray[np.uint8], numbers: npt.NDArray[np.int8], trains: int) -> list[tuple[int, int]]:
    """Pairs of images, one of training and one of another split, that are nearly the same."""
    hashes = np.ascontiguousarray(fingerprints[:, :8]).view(np.uint64).reshape(-1)
    greys = fingerprints[:, 8:]
    telling = np.random.default_rng(0).permutation(np.flatnonzero(greys.std(1) >= _FLAT))  # equals in any order
    found: dict[tuple[int, int], None] = {}
    budget = _MOST
    for turn in range(0, 64, 16):
        turned = (hashes << np.uint64(turn)) | (hashes >> np.uint64((64 - turn) % 64))
        order = telling[np.argsort(turned[telling], kind="stable")]
        for ahead in range(1, min(_WINDOW, len(order) - 1) + 1):
            a, b = order[:-ahead], order[ahead:]
            if not budget or not ((turned[a] ^ turned[b]) >> np.uint64(48) == 0).any():
                break
            mixed = (numbers[a] == trains) != (numbers[b] == trains)
            close = np.flatnonzero(mixed & (np.bitwise_count(hashes[a] ^ hashes[b]) <= _BITS))[:budget]
            budget -= len(close)
            difference = np.abs(greys[a[close]].astype(np.int16) - greys[b[close]]).mean(1)
            for at in close[difference <= _GREYS]:
                found[int(a[at]), int(b[at])] = None
    return list(found)
