"""Metadata of an export: stored inside its model file, and beside it as export.json."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.config.tasks import TASKS, TaskSpec
from engine.errors import InputError, first_line
from engine.files.escapes import printable
from engine.models.preprocessing import Preprocessing

METADATA_KEY = "tltui"
"""The key of the metadata in a model file."""
CHANNELS = {1: "grey", 2: "grey and a second channel", 3: "RGB", 4: "RGB and a fourth channel"}
_LARGEST_SIDE = 4096  # pixels; no training run uses larger images


class ExportMetadata(msgspec.Struct, frozen=True):
    """What a program needs to use an exported network.

    ``hidden``: sizes of the head's hidden layers. ``preprocessing``: applies to the ``crop`` of an image, with its
    ``channels`` in this order. ``created``: UTC, ISO 8601. ``versions``: of the libraries that wrote the export.
    ``arguments``: of the timm network ``model``, where it has any. ``task``, ``mean``, ``std`` and ``thresholds``: see
    ``TaskSpec``.
    """

    run: str
    model: str
    classes: list[str]
    hidden: list[int]
    preprocessing: Preprocessing
    created: str
    versions: dict[str, str]
    crop: str = "centre"
    channels: str = "RGB"
    task: str = "single"
    mean: list[float] = []
    std: list[float] = []
    thresholds: list[float] = []
    arguments: dict[str, Any] = {}

    @property
    def spec(self) -> TaskSpec:
        """What the network predicts."""
        return TaskSpec(self.task, self.classes, self.mean, self.std, self.thresholds)

    @property
    def input_shape(self) -> str:
        """The shape of a batch, in words."""
        channels, side, _ = self.preprocessing.input_shape
        return f"(N, {channels}, {side}, {side})"

    def __post_init__(self) -> None:
        """Raise ValueError for values that no export has: the file may come from anyone."""
        preprocessing = self.preprocessing
        if self.task not in TASKS:
            raise ValueError("a task that this version does not have")
        if len(self.classes) < TASKS[self.task].least_classes:
            raise ValueError("too few classes")
        per_class = (self.mean, self.std, self.thresholds)
        if any(values and len(values) != len(self.classes) for values in per_class):
            raise ValueError("numbers that do not match the classes")
        if not 1 <= preprocessing.image_size <= preprocessing.resize_size <= _LARGEST_SIDE:
            raise ValueError("impossible image sizes")
        if not len(preprocessing.mean) == len(preprocessing.std) == preprocessing.channels in CHANNELS:
            raise ValueError("impossible channels")
        low, high = preprocessing.value_range or (0.0, 1.0)
        if not low < high:
            raise ValueError("impossible value range")
        if preprocessing.interpolation not in ("bilinear", "bicubic") or 0 in preprocessing.std:
            raise ValueError("impossible preprocessing")


def encode(metadata: ExportMetadata) -> str:
    """Encode as JSON."""
    return msgspec.json.encode(metadata).decode()


def decode(text: str | bytes | None, path: object) -> ExportMetadata:
    """Decode the metadata of the file at ``path``, its class names made printable. Raises InputError."""
    if text is None:
        raise InputError(f"{path}: not an export (no classes or preprocessing in it); write one with `tltui export`")
    try:
        metadata = msgspec.json.decode(text, type=ExportMetadata)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: its metadata can't be used ({first_line(error)}); export the run again") from None
    return msgspec.structs.replace(metadata, classes=[printable(name) for name in metadata.classes])
