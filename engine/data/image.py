"""Decodes one image of any format and mode to pixels of the required size and number of channels."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Pixels = npt.NDArray[np.uint8]  # (height, width, channels)

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# Increase with every change of the resulting pixels: it invalidates the image cache.
VERSION = 2
# Width : height of the widest image that is kept. No crop is wider, and a panorama must not fill the cache.
_WIDEST = 2
# The content decides the format, not the suffix. Other formats of Pillow start programs (EPS) or never come from
# cameras and web pages. A JPEG of several frames (MPO) opens as JPEG.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF", "HEIF")
_HEIC = re.compile(rb".{4}ftyp(?:hei[cx]|hev[cx])", re.DOTALL)


def open_image(content: bytes) -> Image.Image:
    """The first frame of an image file's bytes, not yet decoded. Raises OSError and whatever Pillow raises."""
    if not content:
        raise OSError("the file is empty")
    Image.init()
    if _HEIC.match(content) and not _can_decode_heic():
        raise OSError("it is an HEIC image; `pip install pillow-heif` makes it readable")
    return Image.open(io.BytesIO(content), formats=[name for name in _FORMATS if name in Image.OPEN])


def _can_decode_heic() -> bool:
    try:
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    register_heif_opener()
    return True


def why_unreadable(error: Exception) -> str:
    """The reason that an image can't be opened, in plain words, from the ``error`` that Pillow raised."""
    match error:
        case Image.UnidentifiedImageError():
            return "not an image in a supported format, or damaged at its beginning"
        case Image.DecompressionBombError():
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
            return f"it has more than {most} million pixels; make it smaller"
        case MemoryError():
            return "there is not enough memory to decode it"
        case OSError() if error.strerror:
            return error.strerror[0].lower() + error.strerror[1:]
    said = str(error) or type(error).__name__
    if "truncated" in said.lower():
        return "it is truncated, as after an interrupted copy"
    return "its data are damaged" if "broken data stream" in said else said


def prepare(
    image: Image.Image,
    shorter_side: int,
    interpolation: str,
    channels: int = 3,
    value_range: Sequence[float] | None = None,
) -> Pixels:
    """Decode an image, upright, with its shorter side resized to ``shorter_side`` pixels.

    ``channels``: 1 grey; 2 grey and the second channel; 3 RGB; 4 RGB and the fourth channel. ``value_range``: the
    values of an image of more than 8 bits that become 0 and 255; None: by the range of its type.
    Raises whatever Pillow raises for a damaged file (OSError, SyntaxError, ValueError …).
    """
    # A JPEG decodes faster at 1/2, 1/4 or 1/8; twice the final size leaves enough detail to resample.
    scale = 2 * shorter_side / min(image.size)
    image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
    image = upright(image)
    image = to_rgb(image, value_range) if channels in (1, 3) else _with_last_channel(image, channels, value_range)
    # Crop before resizing: an image of 1 × 5000 pixels would become a gigabyte.
    limit = _WIDEST * min(image.size)
    kept = min(image.width, limit), min(image.height, limit)
    left, top = (image.width - kept[0]) / 2, (image.height - kept[1]) / 2
    scale = shorter_side / min(kept)
    size = max(shorter_side, round(kept[0] * scale)), max(shorter_side, round(kept[1] * scale))
    box = (left, top, left + kept[0], top + kept[1])

    def resized(part: Image.Image) -> Image.Image:
        return part.resize(size, _RESAMPLING[interpolation], box=box, reducing_gap=3.0)

    if channels in (1, 3):
        pixels = np.array(resized(image).convert("L" if channels == 1 else "RGB"), dtype=np.uint8)
        return pixels[..., None] if channels == 1 else pixels
    # One by one: Pillow would weight the colours by the last channel, as if it were transparency.
    return np.stack([np.asarray(resized(band), dtype=np.uint8) for band in image.split()], axis=2)


def upright(image: Image.Image) -> Image.Image:
    """The image in its EXIF orientation."""
    image.load()
    with suppress(Exception):  # damaged EXIF data say nothing about the orientation
        ImageOps.exif_transpose(image, in_place=True)
    return image


def is_deep(image: Image.Image) -> bool:
    """Whether an image has more than 8 bits per value: grey of 16 or 32 bits, or of floats."""
    return image.mode.startswith("I") or image.mode == "F"


def to_rgb(image: Image.Image, value_range: Sequence[float] | None = None) -> Image.Image:
    """An image of any mode as RGB, or as L, which resizes in a third of the time.

    Grey of more than 8 bits is scaled. Transparency goes over white. Palettes and CMYK are resolved.
    """
    if is_deep(image):
        return _from_deep_grey(image, value_range)
    if image.mode == "L" and "transparency" not in image.info:
        return image
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _with_last_channel(image: Image.Image, channels: int, value_range: Sequence[float] | None) -> Image.Image:
    """An image as LA or RGBA with its colours and its last channel as they are stored; 255 where it has none."""
    if is_deep(image):
        image = _from_deep_grey(image, value_range)
    if image.mode == "RGBX":  # four channels of which the last is no transparency
        image = Image.merge("RGBA", image.split())
    elif image.mode == "CMYK":
        image = image.convert("RGB")
    return image.convert("RGBA").convert("LA" if channels == 2 else "RGBA")


def _from_deep_grey(image: Image.Image, value_range: Sequence[float] | None) -> Image.Image:
    """Grey of 16 or 32 bits, or of floats, to 8 bits. NaN becomes black.

    Without a value range, the range of the type sets the scale.
    """
    values = np.asarray(image)
    if value_range is None:
        low, scale = 0.0, _scale_of_type(image.mode, values)
    else:
        low, scale = value_range[0], 255.0 / (value_range[1] - value_range[0])
    # 32-bit integers need more than the 24 bits of a float32.
    kind = np.float64 if value_range and values.dtype == np.int32 else np.float32
    scaled = (values.astype(kind) - kind(low)) * kind(scale)
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    return Image.fromarray(np.clip(scaled, 0, 255).round().astype(np.uint8))


def _scale_of_type(mode: str, values: npt.NDArray[Any]) -> float:
    highest = np.max(values, initial=0, where=np.isfinite(values))
    if mode == "F":
        return 255.0 if highest <= 1.0 else 1.0
    return 255.0 / 65535.0 if highest > 255 or mode.startswith("I;16") else 1.0


def centre_crop(pixels: Pixels, side: int) -> Pixels:
    """The centre square of ``side`` pixels; the image must be at least as large."""
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]
