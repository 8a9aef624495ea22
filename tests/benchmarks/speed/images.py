"""The elpv images (Deitsch et al. 2019: solar cells, functional or defective) as folders of classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

_DEFECTIVE = 0.5  # from this probability on; the experts gave 0, 1/3, 2/3 or 1
_VAL_SHARE = 0.25


def write_images(folder: Path, wanted: int) -> Path:
    """Write train/ and val/, three to one and stratified, unless they are there; ``wanted``: how many, 0 for all 2,624.

    Returns the folder that holds both.
    """
    target = folder / f"elpv-{wanted or 'all'}"
    if target.exists():
        return target
    from elpv_dataset.utils import load_dataset

    images, probabilities, _ = load_dataset()
    share = wanted / len(images) if wanted else 1.0
    random = np.random.default_rng(0)
    unfinished = target.with_name(f".{target.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, chosen in (("defective", probabilities >= _DEFECTIVE), ("functional", probabilities < _DEFECTIVE)):
        members = random.permutation(np.flatnonzero(chosen))
        members = members[: round(share * len(members))]
        in_val = round(_VAL_SHARE * len(members))
        for split, indices in (("val", members[:in_val]), ("train", members[in_val:])):
            (unfinished / split / name).mkdir(parents=True)
            for index in indices:
                Image.fromarray(images[index]).save(unfinished / split / name / f"{index:04}.png")
    unfinished.rename(target)
    return target


def count(folder: Path, split: str) -> int:
    """Images in a split."""
    return sum(1 for _ in (folder / split).rglob("*.png"))
