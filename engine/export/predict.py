"""Predicts the classes of image files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import torch

from engine.data.decode import decode, map_in_threads, read_file
from engine.data.image import open_image, why_unreadable
from engine.data.image_files import image_files
from engine.data.loaders import centre_view
from engine.errors import InputError
from engine.export.predictor import Predictor
from engine.files.escapes import name_of, printable
from engine.runs.progress import Report

_BATCH = 32
_TOP = 5


class Prediction(msgspec.Struct):
    """The most probable class of an image. ``top``: the five most probable classes with their probabilities."""

    path: str
    label: str
    probability: float
    top: list[tuple[str, float]]


class Unreadable(msgspec.Struct):
    """A file that can't be read as an image. ``error``: why."""

    path: str
    error: str


def find_images(paths: Iterable[Path]) -> list[Path]:
    """The files in ``paths``, and the image files at any depth of its folders."""
    return [file for path in paths for file in (image_files(path) if os.path.isdir(path) else [path])]


def predict(network: Predictor, paths: Sequence[Path], report: Report) -> Iterator[Prediction | Unreadable]:
    """Predict each path, in order. Images are read as in training. Raises InputError for non-finite outputs."""
    preprocessing = network.preprocessing

    def load(path: Path) -> torch.Tensor | str:
        try:
            _, content = read_file(path)
            return centre_view(decode(open_image(content), preprocessing), preprocessing.image_size)
        except Exception as error:  # PIL's plugins raise nearly anything for a damaged file
            return printable(why_unreadable(error))

    images = map_in_threads(load, paths)
    done = 0
    while batch := list(islice(images, _BATCH)):
        yield from _predict_batch(network, batch)
        done += len(batch)
        report("predict", done, len(paths), "images")


def _predict_batch(
    network: Predictor, batch: list[tuple[Path, torch.Tensor | str]]
) -> Iterator[Prediction | Unreadable]:
    images = [image for _, image in batch if isinstance(image, torch.Tensor)]
    top = iter(_top_classes(network, torch.stack(images))) if images else iter(())
    for path, image in batch:
        if isinstance(image, str):
            yield Unreadable(name_of(path), image)
        else:
            best = next(top)
            yield Prediction(name_of(path), *best[0], best)


def _top_classes(network: Predictor, images: torch.Tensor) -> list[list[tuple[str, float]]]:
    """The most probable classes of each image, uint8 (N, C, S, S), with their probabilities. Raises InputError."""
    probabilities = network.compute_logits(images).softmax(1)
    if not probabilities.isfinite().all():
        raise InputError(
            "the network returns NaN or infinity; its weights are damaged, or training diverged: train again"
        )
    values, classes = probabilities.topk(min(_TOP, len(network.classes)))
    return [
        [(network.classes[label], value) for label, value in zip(*row, strict=True)]
        for row in zip(classes.tolist(), values.tolist(), strict=True)
    ]
