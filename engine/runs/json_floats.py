"""Floats in JSON, which has no NaN and no infinity. Imports no torch."""

from __future__ import annotations

import math
from typing import Literal

NonFinite = Literal["nan", "inf", "-inf"]


def encode_float(value: float) -> tuple[float | None, NonFinite | None]:
    """Split a float into its JSON value and, if it is non-finite, its kind."""
    if math.isfinite(value):
        return value, None
    return None, "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def decode_float(value: float | None, nonfinite: NonFinite | None) -> float:
    """Join the two parts that ``encode_float`` returns."""
    return float(nonfinite or "nan") if value is None else value
