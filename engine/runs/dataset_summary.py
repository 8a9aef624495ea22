"""What the files of a dataset hold, in numbers: part of the event ``data_ready`` and of `tltui data --json`."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Spread(msgspec.Struct):
    """The least, the median and the greatest of several numbers."""

    least: _Count
    median: _Count
    greatest: _Count


class DatasetSummary(msgspec.Struct):
    """What the readable images of a dataset have in common and where they differ.

    ``images``: their number. ``formats`` and ``modes``: images by file format and by Pillow's mode; mode "RGB;16" is
    colours of 16 bits. ``width`` and ``height``: pixels as stored; null without images. ``deep``: images of more than
    8 bits; ``value_range``: their values that become black and white; ``grey_levels``: how many of 256 they use then.
    ``copies``: images with the content of an earlier one; ``contradictions``: contents in several classes.
    """

    images: _Count
    formats: dict[str, _Count] = {}
    modes: dict[str, _Count] = {}
    width: Spread | None = None
    height: Spread | None = None
    deep: _Count = 0
    value_range: tuple[float, float] | None = None
    grey_levels: _Count | None = None
    copies: _Count = 0
    contradictions: _Count = 0


class SkippedFile(msgspec.Struct):
    """A file that can't be used, and the reason."""

    path: str
    reason: str
