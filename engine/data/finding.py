"""A warning about a dataset, found before any image is decoded. Imports neither torch nor Pillow."""

from __future__ import annotations

from typing import NamedTuple

from engine.warning_codes import WarningCode


class Finding(NamedTuple):
    """A warning's code and its message."""

    code: WarningCode
    message: str
