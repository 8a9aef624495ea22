"""Which view of an image an epoch shows, and the name under which what is computed from it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

CENTRE = 0  # the view without any change: the image's centre
_FLIPPED = 1
_VIEWS = {"none": 1, "flip": 2}  # all there are; the others are drawn
_DRAWN_VIEWS = 8


class View(NamedTuple):
    """One view of an image, named by its position: ``CENTRE``, its mirror image, or the ``number``-th random draw."""

    image: int
    number: int


@dataclass(frozen=True)
class Views:
    """How many views of an image there are for ``augment``, and which one an epoch shows.

    Draws depend on the seed, the image's content and their number alone: neither on how many workers draw them nor
    on what was drawn before. Up to epoch ``count`` each epoch shows a new draw. From then on the last ``count`` are
    shown again in turn, and in each epoch one image in ``count`` gets a new draw in place of its oldest.
    """

    augment: str
    count: int
    seed: int

    @classmethod
    def of(cls, augment: str, count: int, seed: int) -> Views:
        """``count`` 0: 1 for "none", 2 for "flip", which are all there are, else 8."""
        everything = _VIEWS.get(augment)
        return cls(augment, everything or count or _DRAWN_VIEWS, seed)

    def shown(self, epoch: int, image: int, key: bytes, *, kept: bool) -> View:
        """The view of an image with the content key ``key`` in an epoch (from 1).

        Without ``kept``, where nothing that was computed is used again, each epoch has a draw of its own.
        """
        match self.augment:
            case "none":
                return View(image, CENTRE)
            case "flip":
                return View(image, _FLIPPED if self._hash(key, epoch) & 1 else CENTRE)
        return View(image, self._draw_of(epoch, self._hash(key)) if kept else epoch)

    def _draw_of(self, epoch: int, turn: int) -> int:
        while epoch > self.count and (epoch // self.count + turn) % self.count:
            epoch -= self.count
        return epoch

    def random_seed(self, key: bytes, number: int) -> int:
        """What the ``number``-th draw of an image is seeded with, below 2⁶³."""
        return self._hash(key, number) >> 1

    def name(self, key: bytes, number: int) -> bytes:
        """16 bytes that name a view's content: the same for every run that shows the same."""
        if number == CENTRE:
            return key
        kind = self.augment if self.augment == "flip" else f"{self.augment} {self.seed}"
        return blake2b(key + f"{kind} {number}".encode(), digest_size=16).digest()

    def _hash(self, key: bytes, number: int = 0) -> int:
        return int.from_bytes(blake2b(key + f"{self.seed} {number}".encode(), digest_size=8).digest(), "big")
