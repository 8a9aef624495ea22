"""How images are prepared for a network, as for its pretrained weights. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

ValueRange = tuple[float, float]
"""The values of an image of more than 8 bits that become black and white."""


@dataclass(frozen=True)
class Preprocessing:
    """How images are prepared for a network.

    ``resize_size``: the shorter side of an image after resizing, in pixels. ``image_size``: side of the centre crop
    that the network takes. ``mean`` and ``std``: per channel, for values in 0 … 1. ``interpolation``: "bilinear"
    or "bicubic". ``channels``: 1 grey, 2 grey and a further channel, 3 RGB, 4 RGB and a further channel.
    ``value_range``: scales images of more than 8 bits; None: each by the range of its type, as version 0.1.0 did.
    """

    image_size: int
    resize_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    channels: int = 3
    value_range: ValueRange | None = None

    def at(self, image_size: int) -> Preprocessing:
        """The same for another image size, with the same crop ratio; 0 keeps the size."""
        if not image_size:
            return self
        scaled = round(image_size * self.resize_size / self.image_size)
        return replace(self, image_size=image_size, resize_size=scaled)

    def with_channels(self, channels: int) -> Preprocessing:
        """The same for another number of channels. Grey channels take the mean over RGB, a fourth takes red's."""
        if channels == self.channels:
            return self
        mean, std = (_for_channels(values, channels) for values in (self.mean, self.std))
        return replace(self, channels=channels, mean=mean, std=std)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of one image as the network takes it."""
        return self.channels, self.image_size, self.image_size

    @property
    def cache_key(self) -> str:
        """What features depend on besides the content keys of the images; a fixed form, so that caches stay valid."""
        key = (
            f"Preprocessing(image_size={self.image_size}, resize_size={self.resize_size}, mean={self.mean}, "
            f"std={self.std}, interpolation={self.interpolation!r})"
        )
        return key if self.channels == 3 else f"{key} {self.channels} channels"


def _for_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """A value per channel, from those of RGB."""
    if channels < 3:
        return (sum(values) / len(values),) * channels
    return tuple(values[at % len(values)] for at in range(channels))
