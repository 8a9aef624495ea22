"""Lists the datasets that can be used by name."""

from __future__ import annotations

import msgspec

from engine.data.torchvision_source import DATASETS, is_here


class DatasetEntry(msgspec.Struct):
    """``source`` and ``name`` are the settings that select it; ``here``: it needs no download."""

    source: str
    name: str
    splits: list[str]
    here: bool


def known_datasets(path: str) -> list[DatasetEntry]:
    """scikit-learn's digits and torchvision's classification datasets; ``path`` is the data root to check."""
    digits = DatasetEntry(source="digits", name="", splits=[], here=True)
    return [
        digits,
        *(
            DatasetEntry(
                source="torchvision", name=name, splits=[split for split in splits if split], here=is_here(name, path)
            )
            for name, splits in DATASETS.items()
        ),
    ]
