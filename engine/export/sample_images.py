"""Sample images of a run, on which an export is compared with the checkpoint."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from engine.data.decode import decode, open_sample, read_file
from engine.data.loaders import centre_view
from engine.data.source import Source
from engine.data.sources import open_source
from engine.data.splits import read_splits, split_indices
from engine.data.torchvision_source import is_here
from engine.errors import InputError
from engine.evaluation.load_run import TrainedRun
from engine.files.csv_tables import TableError
from engine.files.safe_open import open_regular
from engine.models.preprocessing import Preprocessing
from engine.runs.folder import RunFolder
from engine.runs.progress import Report

_MOST = 32


@dataclass(frozen=True)
class Samples:
    """``images``: uint8 (N, C, S, S). ``description``: their origin, in words."""

    images: torch.Tensor
    description: str


def sample_images(trained: TrainedRun, report: Report) -> Samples:
    """Up to 32 images that the run did not train on, or noise where its dataset can't be read."""
    preprocessing, data = trained.classifier.preprocessing, trained.config.data
    if data.resolved_source == "torchvision" and not is_here(data.name, data.path):
        return _noise(preprocessing)  # a comparison does not justify a download
    try:
        source = open_source(data)
    except InputError:
        return _noise(preprocessing)
    split, members = _held_out(trained.folder, source)
    chosen = [members[place] for place in np.linspace(0, len(members) - 1, min(_MOST, len(members)), dtype=int)]
    found: list[torch.Tensor] = []
    for done, index in enumerate(chosen, 1):
        with suppress(Exception):  # PIL's plugins raise nearly anything; training skips these, too
            _, image = open_sample(source, index, read_file)
            found.append(centre_view(decode(image, preprocessing), preprocessing.image_size))
        report("data", done, len(chosen), "images")
    if not found:
        return _noise(preprocessing)
    return Samples(torch.stack(found), f"{len(found)} images of the run ({split})")


def _noise(preprocessing: Preprocessing) -> Samples:
    images = torch.randint(
        0, 256, (8, *preprocessing.input_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return Samples(images, "8 noise images, since the run's images can't be read here")


def _held_out(folder: RunFolder, source: Source) -> tuple[str, list[int]]:
    """A held-out split and the positions of its images in ``source``; all images where splits.csv can't be read."""
    with suppress(OSError, TableError), open_regular(folder.splits, follow=False) as file:
        members = split_indices(read_splits(file.read()), source.samples)
        for split in ("test", "val"):
            if members[split]:
                return split, members[split]
    return "all", list(range(len(source.samples)))
