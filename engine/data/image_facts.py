"""What an image's header tells, and the quantiles of a deep image's values, cached by content."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.cache.file_digests import FileDigests, as_keys, digest
from engine.cache.space import CacheSpace
from engine.data.image import is_deep
from engine.data.source import Source
from engine.data.value_range import QUANTILES, Quantiles, quantiles

_VERSION = 1  # increase with every change of the facts
_HEADER = struct.Struct("<II12s12s")  # width, height, format, mode
_UNLIMITED = 2**63


@dataclass(frozen=True)
class ImageFacts:
    """``mode``: Pillow's, with ";16" for colours of 16 bits, of which Pillow keeps 8. Sizes are those stored.

    ``quantiles``: of the values, for an image of more than 8 bits.
    """

    format: str
    mode: str
    width: int
    height: int
    quantiles: Quantiles | None = None

    @property
    def is_deep(self) -> bool:
        """Whether the image has more than 8 bits per value, so that its value range counts."""
        return self.quantiles is not None


def image_facts(image: Image.Image) -> ImageFacts:
    """The facts of an image. Decodes it only where it has more than 8 bits per value.

    Raises whatever Pillow raises for a damaged file.
    """
    deep = quantiles(image) if is_deep(image) else None
    return ImageFacts(image.format or "", _mode(image), *image.size, deep)


def facts_space(root: Path, data: str) -> CacheSpace:
    """The cache space of facts by content key; ``data`` names one of the datasets in it."""
    about = {"data": data, "images": "formats, sizes and value ranges"}
    # If it is unusable, so is the image space, which warns.
    return CacheSpace(
        root, "images", digest(f"facts {_VERSION}".encode()).hex(), about, lambda code, message: None, _UNLIMITED
    )


def known_facts(
    source: Source, files: FileDigests, space: CacheSpace, contents: dict[int, bytes], facts: dict[int, ImageFacts]
) -> None:
    """Adds content keys and facts of unchanged files by their positions in ``source``; reads no file."""
    if source.file is None:
        return
    found = {index: files.get(source.file(index)) for index in range(len(source.samples))}
    known = {index: key for index, key in found.items() if key is not None and key in space}
    try:
        rows = space.read(as_keys(list(known.values()))) if known else []
    except KeyError:  # damaged; the facts are read again
        return
    contents.update(known)
    facts.update(zip(known, map(unpack, rows), strict=True))


def pack(facts: ImageFacts) -> npt.NDArray[np.uint8]:
    """The facts as a row of the cache."""
    head = _HEADER.pack(facts.width, facts.height, facts.format.encode(), facts.mode.encode())
    return np.frombuffer(head + (b"" if facts.quantiles is None else facts.quantiles.tobytes()), np.uint8)


def unpack(row: npt.NDArray[np.uint8]) -> ImageFacts:
    """The facts in a row of the cache."""
    content = row.tobytes()
    width, height, name, mode = _HEADER.unpack_from(content)
    rest = content[_HEADER.size :]
    deep = np.frombuffer(rest, np.float64, QUANTILES) if rest else None
    return ImageFacts(name.rstrip(b"\0").decode(), mode.rstrip(b"\0").decode(), width, height, deep)


def _mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", None) or [()]
    raw = str(tiles[0][3:4])
    return f"{image.mode};16" if image.mode in ("RGB", "RGBA") and ";16" in raw else image.mode
