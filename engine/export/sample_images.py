"""Some images of a run, to compare networks on."""

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
from engine.evaluation.load_run import Trained
from engine.files.csv_tables import TableError
from engine.files.safe_open import open_regular
from engine.models.architecture import Preprocessing
from engine.runs.folder import RunFolder
from engine.runs.progress import Report

_MOST = 32


@dataclass(frozen=True)
class Samples:
    """``images``: uint8 (N, 3, S, S); ``said``: what they are, in words."""

    images: torch.Tensor
    said: str


def sample_images(trained: Trained, report: Report) -> Samples:
    """At most 32 of the images that the run did not train on, or noise where its data are gone."""
    how, data = trained.classifier.preprocessing, trained.config.data
    if data.source == "torchvision" and not is_here(data.name, data.path):
        return _noise(how)  # a comparison is not worth a download
    try:
        source = open_source(data)
    except InputError:
        return _noise(how)
    split, members = _held_out(trained.folder, source)
    wanted = [members[place] for place in np.linspace(0, len(members) - 1, min(_MOST, len(members)), dtype=int)]
    found: list[torch.Tensor] = []
    for done, index in enumerate(wanted, 1):
        with suppress(Exception):  # PIL's plugins raise nearly anything; what training skipped is skipped here, too
            _, image = open_sample(source, index, read_file)
            found.append(centre_view(decode(image, how.resize_size, how.interpolation), how.image_size))
        report("data", done, len(wanted), "images")
    if not found:
        return _noise(how)
    return Samples(torch.stack(found), f"{len(found)} images of the run ({split})")


def _noise(preprocessing: Preprocessing) -> Samples:
    side = preprocessing.image_size
    images = torch.randint(0, 256, (8, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Samples(images, "8 images of noise, since those of the run can't be read here")


def _held_out(folder: RunFolder, source: Source) -> tuple[str, list[int]]:
    """A split's name and the positions of its images in ``source``; all of them where splits.csv tells nothing."""
    with suppress(OSError, TableError), open_regular(folder.splits, follow=False) as file:
        members = split_indices(read_splits(file.read()), source.samples)
        for split in ("test", "val"):
            if members[split]:
                return split, members[split]
    return "all", list(range(len(source.samples)))
