"""scikit-learn's handwritten digits as a data source."""

from __future__ import annotations

from typing import Any

from PIL import Image

from engine.config.schema import DataConfig
from engine.data.source import Sample, Source


def digits_source(_config: DataConfig) -> Source:
    """1,797 grayscale images of 8 × 8 pixels in ten classes, without splits."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    pixels = (digits.images * (255 / 16)).round().astype("uint8")
    samples = [Sample(f"digit-{index:04}", int(label), "") for index, label in enumerate(digits.target)]
    return Source([str(digit) for digit in range(10)], samples, lambda index: Image.fromarray(pixels[index]))
