"""Some pictures of a run, to compare networks on."""

from __future__ import annotations

import csv
import io
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from engine.csv_cells import path_cell
from engine.data.decoding import decode, open_one, read_file
from engine.data.pictures import centre_crop
from engine.data.source import Source
from engine.data.sources import open_source
from engine.data.torchvision_source import is_here
from engine.errors import InputError
from engine.exporting.network import Trained
from engine.models.architecture import Preprocessing
from engine.progress import Report
from engine.regular_files import open_regular
from engine.rundir import RunFolder

_MOST = 32


@dataclass(frozen=True)
class Samples:
    """``pictures``: uint8 (N, 3, S, S); ``said``: what they are, in words; ``real``: they are the run's."""

    pictures: torch.Tensor
    said: str
    real: bool


def sample_pictures(trained: Trained, report: Report) -> Samples:
    """At most 32 of the pictures that the run did not train on, or noise where its data are gone."""
    how, data = trained.classifier.preprocessing, trained.config.data
    if data.source == "torchvision" and not is_here(data.name, data.path):
        return _noise(how, f"{data.name} would have to be downloaded")
    try:
        source = open_source(data)
    except InputError as error:
        return _noise(how, str(error))
    split, members = _held_out(trained.folder, source)
    wanted = [members[place] for place in np.linspace(0, len(members) - 1, min(_MOST, len(members)), dtype=int)]
    found: list[torch.Tensor] = []
    for done, index in enumerate(wanted, 1):
        with suppress(Exception):  # PIL's plugins raise nearly anything; what training skipped is skipped here, too
            _, image = open_one(source, index, read_file)
            found.append(as_seen(decode(image, how.resize_size, how.interpolation), how))
        report("data", done, len(wanted), "pictures")
    if not found:
        return _noise(how, "none of its pictures can be read")
    return Samples(torch.stack(found), f"{len(found)} pictures of the run ({split})", real=True)


def as_seen(pixels: np.ndarray, preprocessing: Preprocessing) -> torch.Tensor:
    """What a network sees of a prepared picture: uint8 (3, S, S)."""
    square = np.ascontiguousarray(centre_crop(pixels, preprocessing.image_size))
    return torch.from_numpy(square).permute(2, 0, 1)


def _noise(preprocessing: Preprocessing, why: str) -> Samples:
    side = preprocessing.image_size
    pictures = torch.randint(0, 256, (8, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Samples(pictures, f"8 pictures of noise, since the run's are not there ({why})", real=False)


def _held_out(folder: RunFolder, source: Source) -> tuple[str, list[int]]:
    """A split's name and the positions of its pictures in ``source``; all of them where splits.csv tells nothing."""
    splits: dict[str, str] = {}
    with suppress(OSError, ValueError, csv.Error), open_regular(folder.splits, follow=False) as file:
        for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")):
            splits[str(row.get("path"))] = str(row.get("split"))
    for split in ("test", "val"):
        members = [i for i, picture in enumerate(source.pictures) if splits.get(path_cell(picture.key)) == split]
        if members:
            return split, members
    return "all", list(range(len(source.pictures)))
