"""Predicts what a network was trained for, of image files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import torch

from engine.compute.task import Answer
from engine.data.decode import decode, map_in_threads, read_file
from engine.data.image import open_image, why_unreadable
from engine.data.loaders import centre_view
from engine.data.sources import list_images
from engine.errors import InputError
from engine.export.predictor import Predictor
from engine.files.escapes import name_of, printable
from engine.files.stored_file import ImageFile
from engine.runs.progress import Report

_BATCH = 32


class Prediction(msgspec.Struct, omit_defaults=True):
    """The class, labels or numbers of an image, as text in ``label``.

    ``probability``: of the class; null for labels and numbers. ``top``: the five most probable classes with their
    probabilities. ``values``: a probability or number per name, for several labels and for numbers.
    """

    path: str
    label: str
    probability: float | None
    top: list[tuple[str, float]]
    values: dict[str, float] = {}


class Unreadable(msgspec.Struct):
    """A file that can't be read as an image. ``error``: why."""

    path: str
    error: str


def find_images(paths: Iterable[Path]) -> list[ImageFile]:
    """The files in ``paths``, and the images of its datasets, such as folders, archives and tables.

    Raises InputError.
    """
    return [image for path in paths for image in list_images(path)]


def predict(network: Predictor, images: Sequence[ImageFile], report: Report) -> Iterator[Prediction | Unreadable]:
    """Predict each image, in order. Images are read as in training. Raises InputError for non-finite outputs."""
    preprocessing = network.preprocessing

    def load(image: ImageFile) -> torch.Tensor | str:
        try:
            _, content = read_file(image.file)
            return centre_view(decode(open_image(content), preprocessing), preprocessing.image_size)
        except Exception as error:  # PIL's plugins raise nearly anything for a damaged file
            return printable(why_unreadable(error))

    loaded = map_in_threads(load, images)
    done = 0
    while batch := list(islice(loaded, _BATCH)):
        yield from _predict_batch(network, batch)
        done += len(batch)
        report("predict", done, len(images), "images")


def _predict_batch(
    network: Predictor, batch: list[tuple[ImageFile, torch.Tensor | str]]
) -> Iterator[Prediction | Unreadable]:
    images = [image for _, image in batch if isinstance(image, torch.Tensor)]
    answers = iter(_answers(network, torch.stack(images))) if images else iter(())
    for (path, _), image in batch:
        if isinstance(image, str):
            yield Unreadable(name_of(path), image)
        else:
            one = next(answers)
            yield Prediction(name_of(path), one.label, one.probability, one.top, one.values)


def _answers(network: Predictor, images: torch.Tensor) -> list[Answer]:
    """The prediction for each image, uint8 (N, C, S, S). Raises InputError for non-finite outputs."""
    outputs = network.compute_outputs(images)
    if not outputs.isfinite().all():
        raise InputError(
            "the network returns NaN or infinity; its weights are damaged, or training diverged: train again"
        )
    return network.task.answers(outputs)
