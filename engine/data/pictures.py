"""One picture: from however it is stored to RGB pixels of the right size."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Pixels = npt.NDArray[np.uint8]  # (height, width, 3)

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# To be raised with every change that makes other pixels: what was prepared before is then prepared anew.
VERSION = 1
# Panoramas are cut to this: no crop that a network sees is wider, and one picture can't fill the cache.
_WIDEST = 2


def prepare(image: Image.Image, shorter_side: int, interpolation: str) -> Pixels:
    """Decode a picture, upright, as RGB with its shorter side resized to ``shorter_side`` pixels.

    Raises whatever PIL raises for a file that is damaged or no picture (OSError, SyntaxError, ValueError …).
    """
    # A JPEG can be decoded at 1/2, 1/4 or 1/8; twice what is needed leaves the resampling enough to work with.
    scale = 2 * shorter_side / min(image.size)
    image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
    image = upright(image)
    width, height = image.size
    scale = shorter_side / min(width, height)
    size = max(shorter_side, round(width * scale)), max(shorter_side, round(height * scale))
    image = image.resize(size, _RESAMPLING[interpolation], reducing_gap=3.0)
    limit = _WIDEST * shorter_side
    if max(size) > limit:
        image = ImageOps.fit(image, (min(size[0], limit), min(size[1], limit)))
    return np.array(image.convert("RGB"), dtype=np.uint8)


def upright(image: Image.Image) -> Image.Image:
    """A picture as it looks, whatever its mode and orientation: RGB, or L, which resizes in a third of the time."""
    ImageOps.exif_transpose(image, in_place=True)
    return image if image.mode == "L" and "transparency" not in image.info else to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB: 16 bits scaled to 8, transparency over white, palettes and CMYK resolved."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or of floats, to 8 bits: the range of the type, not of the picture, sets the scale."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
    else:
        scale = 255.0 / 65535.0 if values.max(initial=0.0) > 255 or image.mode.startswith("I;16") else 1.0
    return Image.fromarray(np.clip(values * scale, 0, 255).round().astype(np.uint8))


def centre_crop(pixels: Pixels, side: int) -> Pixels:
    """The square of ``side`` pixels in the middle of a picture that is at least as large."""
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]
