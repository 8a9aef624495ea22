"""Finds leakage: copies and near duplicates of training images in other splits, which inflate the metrics.

Each image has a fingerprint: a 64-bit difference hash (dHash: Krawetz, "Kind of like that", 2013) and its grey values
at 18 × 16. A resized or recompressed copy differs in few bits and little in grey. The hash alone would confuse images
of simple shapes.
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

VERSION = 1  # increase with every change of the fingerprints
_BITS = 3  # by which near duplicates may differ; below 4, so that one of four 16-bit parts is equal
_GREYS = 3.0  # of 255; the largest mean grey difference of near duplicates
_FLAT = 4.0  # grey standard deviation below which images are too uniform to compare
# Bounds on the work: neighbours compared in hash order, and pairs compared in grey.
_WINDOW = 64
_MOST = 1_000_000

Fingerprint = npt.NDArray[np.uint8]  # (296,): the hash, then the greys


@dataclass
class Leak:
    """Positions of images in ``split`` that are exact ``copies`` or ``near`` duplicates of training images.

    ``example``: one of them and its training image.
    """

    split: str
    copies: set[int] = field(default_factory=set)
    near: set[int] = field(default_factory=set)
    example: tuple[int, int] = (0, 0)


def fingerprint(pixels: Pixels) -> Fingerprint:
    """The fingerprint of a decoded image."""
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., 0]
    greys = np.asarray(Image.fromarray(colours).convert("L").resize((2 * 9, 2 * 8), Image.Resampling.BOX))
    coarse = greys.reshape(8, 2, 9, 2).astype(np.int16).sum((1, 3))
    return np.concatenate([np.packbits(coarse[:, 1:] > coarse[:, :-1]), greys.reshape(-1)])


def find_leaks(splits: dict[str, list[int]], keys: Keys, fingerprints: npt.NDArray[np.uint8]) -> list[Leak]:
    """The leakage from training into each other split; ``fingerprints`` (n, 296) match ``keys``.

    Near duplicates are found among neighbours in hash order, in n log n steps. Some are missed among very many
    similar images.
    """
    leaks = {name: Leak(name) for name in splits if name != "train"}
    for name, leak in leaks.items():
        _find_copies(leak, splits["train"], splits[name], keys)
    numbers = np.zeros(len(keys), np.int8)
    for number, members in enumerate(splits.values()):
        numbers[members] = number
    trains = list(splits).index("train")
    for a, b in _near_pairs(fingerprints, numbers, trains):
        trained, other = (a, b) if numbers[a] == trains else (b, a)
        leak = leaks[list(splits)[numbers[other]]]
        if other not in leak.copies:
            if not leak.copies and not leak.near:
                leak.example = (other, trained)
            leak.near.add(other)
    return [leak for leak in leaks.values() if leak.copies or leak.near]


def describe_leaks(leaks: Sequence[Leak], splits: dict[str, list[int]], samples: Sequence[Sample]) -> str:
    """The warning's message about ``leaks``."""
    parts = []
    for leak in leaks:
        kinds = [f"{len(leak.copies):,} as exact copies"] if leak.copies else []
        kinds += [f"{len(leak.near):,} nearly the same"] if leak.near else []
        other, trained = (samples[i].key for i in leak.example)
        count = len(leak.copies) + len(leak.near)
        parts.append(
            f"{count:,} of {len(splits[leak.split]):,} {leak.split} images are also in train "
            f"({' and '.join(kinds)}; e.g. {other} is {trained})"
        )
    return f"{'; '.join(parts)}: the metrics are optimistic; remove the copies, or keep them in one split"


def _find_copies(leak: Leak, trained: list[int], members: list[int], keys: Keys) -> None:
    first = {key: i for i, key in zip(reversed(trained), keys[trained[::-1]].tolist(), strict=True)}
    for i, key in zip(members, keys[members].tolist(), strict=True):
        if key in first:
            if not leak.copies:
                leak.example = (i, first[key])
            leak.copies.add(i)


def _near_pairs(
    fingerprints: npt.NDArray[np.uint8], numbers: npt.NDArray[np.int8], trains: int
) -> list[tuple[int, int]]:
    """Near-duplicate pairs of a training image and an image of another split."""
    hashes = np.ascontiguousarray(fingerprints[:, :8]).view(np.uint64).reshape(-1)
    greys = fingerprints[:, 8:]
    textured = np.random.default_rng(0).permutation(
        np.flatnonzero(greys.std(1) >= _FLAT)
    )  # a random order of equal hashes
    found: dict[tuple[int, int], None] = {}
    budget = _MOST
    for shift in range(0, 64, 16):
        rotated = (hashes << np.uint64(shift)) | (hashes >> np.uint64((64 - shift) % 64))
        order = textured[np.argsort(rotated[textured], kind="stable")]
        for ahead in range(1, min(_WINDOW, len(order) - 1) + 1):
            a, b = order[:-ahead], order[ahead:]
            if not budget or not ((rotated[a] ^ rotated[b]) >> np.uint64(48) == 0).any():
                break
            mixed = (numbers[a] == trains) != (numbers[b] == trains)
            close = np.flatnonzero(mixed & (np.bitwise_count(hashes[a] ^ hashes[b]) <= _BITS))[:budget]
            budget -= len(close)
            difference = np.abs(greys[a[close]].astype(np.int16) - greys[b[close]]).mean(1)
            for at in close[difference <= _GREYS]:
                found[int(a[at]), int(b[at])] = None
    return list(found)
