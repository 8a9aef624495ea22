"""A warning about a dataset, found before any image is decoded. Imports neither torch nor Pillow."""

from __future__ import annotations

from typing import NamedTuple

from engine.warning_codes import WarningCode


def counted(count: int, one: str, several: str) -> str:
    """A number with the words that follow it: ``counted(2, "image is", "images are")`` → "2 images are"."""
    return f"{count:,} {one if count == 1 else several}"


class DatasetFinding(NamedTuple):
    """A warning's code and its message."""

    code: WarningCode
    message: str
