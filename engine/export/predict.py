"""What a trained network says of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import torch

from engine.data.decode import decode, map_in_threads, read_file
from engine.data.folder_layout import image_files
from engine.data.image import open_image, why_unreadable
from engine.data.loaders import centre_view
from engine.errors import InputError
from engine.export.predictor import Opened
from engine.files.escapes import name_of, printable
from engine.runs.progress import Report

_BATCH = 32
_TOP = 5


class Predicted(msgspec.Struct):
    """An image's most likely class, and ``top``: the five likeliest with their probabilities."""

    path: str
    label: str
    probability: float
    top: list[tuple[str, float]]


class Unreadable(msgspec.Struct):
    """A file that is no image that can be read; ``error``: why."""

    path: str
    error: str


def images_at(paths: Iterable[Path]) -> list[Path]:
    """The files among ``paths``, and in folders, at any depth, those named like images."""
    return [file for path in paths for file in (image_files(path) if os.path.isdir(path) else [path])]


def predict(network: Opened, paths: Sequence[Path], report: Report) -> Iterator[Predicted | Unreadable]:
    """One answer for each path, in order. Images are read as training reads them."""
    how = network.preprocessing

    def seen(path: Path) -> torch.Tensor | str:
        try:
            _, content = read_file(path)
            return centre_view(decode(open_image(content), how.resize_size, how.interpolation), how.image_size)
        except Exception as error:  # PIL's plugins raise nearly anything for a damaged file
            return printable(why_unreadable(error))

    images = map_in_threads(seen, paths)
    done = 0
    while batch := list(islice(images, _BATCH)):
        yield from _answers(network, batch)
        done += len(batch)
        report("predict", done, len(paths), "images")


def _answers(network: Opened, batch: list[tuple[Path, torch.Tensor | str]]) -> Iterator[Predicted | Unreadable]:
    images = [image for _, image in batch if isinstance(image, torch.Tensor)]
    top = iter(_top(network, torch.stack(images))) if images else iter(())
    for path, image in batch:
        if isinstance(image, str):
            yield Unreadable(name_of(path), image)
        else:
            best = next(top)
            yield Predicted(name_of(path), *best[0], best)


def _top(network: Opened, images: torch.Tensor) -> list[list[tuple[str, float]]]:
    """For each of the images (N, 3, S, S) the likeliest classes with their probabilities. Raises InputError."""
    probabilities = network.answer(images).softmax(1)
    if not probabilities.isfinite().all():
        raise InputError("the network's answers are not finite numbers; its weights are damaged, or training exploded")
    values, classes = probabilities.topk(min(_TOP, len(network.classes)))
    return [
        [(network.classes[label], value) for label, value in zip(*row, strict=True)]
        for row in zip(classes.tolist(), values.tolist(), strict=True)
    ]
