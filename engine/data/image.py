"""One image: from however it is stored to RGB pixels of the right size."""

from __future__ import annotations

import io
import math
from contextlib import suppress

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Pixels = npt.NDArray[np.uint8]  # (height, width, 3)

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# To be raised with every change that makes other pixels: what was prepared before is then prepared anew.
VERSION = 2
# Panoramas are cut to this: no crop that a network sees is wider, and one image can't fill the cache.
_WIDEST = 2
# Told by the content, whatever the name says. Of all that Pillow knows these only decode: for others it starts
# programs (EPS) or opens what no camera and no web page makes. A JPEG of several frames (MPO) opens as JPEG.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF")


def open_image(content: bytes) -> Image.Image:
    """An image from a file's bytes, its first frame, not yet decoded. Raises OSError and what PIL raises."""
    if not content:
        raise OSError("the file is empty")
    Image.init()
    return Image.open(io.BytesIO(content), formats=[name for name in _FORMATS if name in Image.OPEN])


def why_unreadable(error: Exception) -> str:
    """What is wrong with an image, in words for those who look at the file; ``error`` as opening it raised it."""
    match error:
        case Image.UnidentifiedImageError():
            return "it is no image in a known format, or damaged at its beginning"
        case Image.DecompressionBombError():
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
            return f"it has more than {most} million pixels; make it smaller"
        case MemoryError():
            return "memory is too small for it"
        case OSError() if error.strerror:
            return error.strerror[0].lower() + error.strerror[1:]
    said = str(error) or type(error).__name__
    if "truncated" in said.lower():
        return "it is cut short, as after a copy that broke off"
    return "its data are damaged" if "broken data stream" in said else said


def prepare(image: Image.Image, shorter_side: int, interpolation: str) -> Pixels:
    """Decode an image, upright, as RGB with its shorter side resized to ``shorter_side`` pixels.

    Raises whatever PIL raises for a file that is damaged or no image (OSError, SyntaxError, ValueError …).
    """
    # A JPEG can be decoded at 1/2, 1/4 or 1/8; twice what is needed leaves the resampling enough to work with.
    scale = 2 * shorter_side / min(image.size)
    image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
    image = upright(image)
    # The middle of what is too wide, before it is enlarged: a line of 1 × 5000 would become a gigabyte.
    limit = _WIDEST * min(image.size)
    kept = min(image.width, limit), min(image.height, limit)
    left, top = (image.width - kept[0]) / 2, (image.height - kept[1]) / 2
    scale = shorter_side / min(kept)
    size = max(shorter_side, round(kept[0] * scale)), max(shorter_side, round(kept[1] * scale))
    box = (left, top, left + kept[0], top + kept[1])
    image = image.resize(size, _RESAMPLING[interpolation], box=box, reducing_gap=3.0)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def upright(image: Image.Image) -> Image.Image:
    """An image as it looks, whatever its mode and orientation: RGB, or L, which resizes in a third of the time."""
    image.load()
    with suppress(Exception):  # what can't be read of its data tells nothing about how it was held
        ImageOps.exif_transpose(image, in_place=True)
    return image if image.mode == "L" and "transparency" not in image.info else to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB: 16 bits scaled to 8, transparency over white, palettes and CMYK resolved."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or of floats, to 8 bits: the range of the type, not of the image, sets the scale.

    Floats that are no number become black.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float32), copy=False, nan=0.0, posinf=np.inf, neginf=0.0)
    highest = values.max(initial=0.0, where=np.isfinite(values))
    if image.mode == "F":
        scale = 255.0 if highest <= 1.0 else 1.0
    else:
        scale = 255.0 / 65535.0 if highest > 255 or image.mode.startswith("I;16") else 1.0
    return Image.fromarray(np.clip(values * np.float32(scale), 0, 255).round().astype(np.uint8))


def centre_crop(pixels: Pixels, side: int) -> Pixels:
    """The square of ``side`` pixels in the middle of an image that is at least as large."""
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]
