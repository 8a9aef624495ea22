"""Chooses the augmented view of an image that an epoch trains on, and the cache key of its features."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

CENTRE = 0  # the unaugmented view: the centre crop
_FLIPPED = 1
_FIXED_VIEWS = {"none": 1, "flip": 2}  # augmentations with a fixed set of views; the others are random
_RANDOM_VIEWS = 8
_EPOCHS = 1_000_000  # more than a run has


class View(NamedTuple):
    """A view of the image at position ``image``: ``CENTRE``, its mirror image, or the ``number``-th random draw."""

    image: int
    number: int


@dataclass(frozen=True)
class Views:
    """The ``count`` cached views of each image for ``augment``, and which of them an epoch uses.

    A random draw depends only on the seed, the image's content and the draw's number. The number of workers and
    earlier draws have no influence. Up to epoch ``count`` each epoch uses a new draw. Later epochs cycle through the
    last ``count`` draws, and in each epoch one image in ``count`` gets a new draw in place of its oldest.
    """

    augment: str
    count: int
    seed: int

    @classmethod
    def of(cls, augment: str, count: int, seed: int) -> Views:
        """Views for data.augment and data.views; "none" always has 1, "flip" 2, and ``count`` 0 means 8."""
        return cls(augment, _FIXED_VIEWS.get(augment) or count or _RANDOM_VIEWS, seed)

    def in_epoch(self, epoch: int, image: int, key: bytes, *, cached: bool, repeat: int = 0) -> View:
        """The view of the image with content key ``key`` in ``epoch`` (from 1), the ``repeat``-th one (from 0).

        Without ``cached`` features there is nothing to reuse, so each epoch and each repeat gets its own draw.
        """
        own = epoch + repeat * _EPOCHS
        match self.augment:
            case "none":
                return View(image, CENTRE)
            case "flip":
                return View(image, _FLIPPED if self._hash(key, own) & 1 else CENTRE)
        return View(image, self._draw_in(epoch + repeat, self._hash(key)) if cached else own)

    def _draw_in(self, epoch: int, turn: int) -> int:
        while epoch > self.count and (epoch // self.count + turn) % self.count:
            epoch -= self.count
        return epoch

    def random_seed(self, key: bytes, number: int) -> int:
        """The seed of the ``number``-th draw of an image, below 2⁶³."""
        return self._hash(key, number) >> 1

    def cache_key(self, key: bytes, number: int) -> bytes:
        """16 bytes that identify a view's content, equal in every run with the same view."""
        if number == CENTRE:
            return key
        kind = self.augment if self.augment == "flip" else f"{self.augment} {self.seed}"
        return blake2b(key + f"{kind} {number}".encode(), digest_size=16).digest()

    def _hash(self, key: bytes, number: int = 0) -> int:
        return int.from_bytes(blake2b(key + f"{self.seed} {number}".encode(), digest_size=8).digest(), "big")
