"""Measures the value range of a dataset's images of more than 8 bits: 16-bit and 32-bit grey, and floats.

Each image is summed up once by its quantiles. The dataset's range comes from those, so that no image is decoded again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.models.preprocessing import ValueRange

Quantiles = npt.NDArray[np.float64]  # (72,): the number of pixels, then values at _SHARES
FEWEST_LEVELS = 32
"""Below this number of grey levels, of 256, a value range loses what the images hold."""

_TAILS = (0.0, 1e-4, 1e-3, 1e-2)
_SHARES = np.array([*_TAILS, *(np.arange(1, 64) / 64), *(1 - tail for tail in reversed(_TAILS))])
QUANTILES = 1 + len(_SHARES)
# Values beyond these shares of all pixels, as hot pixels are, widen the range by at most half of what lies between.
_INNER = (1e-4, 1 - 1e-4)
_MARGIN = 0.5
_SAMPLED = 2**18  # pixels of an image whose quantiles are computed; all count for the least and the greatest value
_RARE = 1 / 2048  # share of all pixels from which a grey level counts as used


def quantiles(image: Image.Image) -> Quantiles:
    """Sums up the values of an image of more than 8 bits; NaN and infinity are left out.

    Raises whatever Pillow raises for a damaged file.
    """
    values = np.asarray(image).reshape(-1)
    values = values[np.isfinite(values)]
    if not len(values):
        return np.zeros(QUANTILES)
    sampled = values[:: -(-len(values) // _SAMPLED)]
    found = np.quantile(sampled.astype(np.float64), _SHARES)
    found[0], found[-1] = values.min(), values.max()
    return np.concatenate([[len(values)], found])


def measure(images: Sequence[Quantiles]) -> ValueRange | None:
    """The value range of a dataset from its images' quantiles: all values but far outliers. None without pixels."""
    edges, masses = _intervals(images)
    if not len(edges):
        return None
    low, high = _inner(edges, masses)
    margin = _MARGIN * (high - low)
    low, high = max(low - margin, edges.min()), min(high + margin, edges.max())
    return (float(low), float(high)) if low < high else (float(low), float(low) + 1.0)


def grey_levels(images: Sequence[Quantiles], value_range: ValueRange) -> int:
    """The number of grey levels, of 256, that the pixels use where ``value_range`` becomes black to white."""
    edges, masses = _intervals(images)
    if not len(edges):
        return 0
    low, high = value_range
    levels = np.clip((edges - low) / (high - low) * 255, 0, 255).round().astype(int)
    # Each interval spreads its pixels evenly over its levels.
    changes = np.zeros(257)
    shares = masses / masses.sum() / (levels[:, 1] - levels[:, 0] + 1)
    np.add.at(changes, levels[:, 0], shares)
    np.add.at(changes, levels[:, 1] + 1, -shares)
    return int((changes.cumsum()[:256] >= _RARE).sum())


def _intervals(images: Sequence[Quantiles]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Intervals of values (n, 2) and the number of pixels in each, over all images."""
    table = np.stack([image for image in images if image[0]] or [np.empty(0)])
    if not table.size:
        return np.empty((0, 2)), np.empty(0)
    values = table[:, 1:]
    edges = np.stack([values[:, :-1], values[:, 1:]], axis=2)
    masses = table[:, :1] * np.diff(_SHARES)
    return edges.reshape(-1, 2), masses.reshape(-1)


def _inner(edges: npt.NDArray[np.float64], masses: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The values below which, and above which, the share ``_INNER`` of all pixels lies."""
    found = []
    for share, side in zip(_INNER, (0, 1), strict=True):
        order = np.argsort(edges[:, side], kind="stable")
        reached = masses[order].cumsum() / masses.sum()
        found.append(float(edges[order[np.searchsorted(reached, share).clip(max=len(order) - 1)], side]))
    return found[0], found[1]
