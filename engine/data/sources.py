"""Opens a dataset by the name of its data source."""

from __future__ import annotations

from collections.abc import Callable

from engine.config.schema import DataConfig
from engine.data.csv_source import csv_source
from engine.data.digits_source import digits_source
from engine.data.folder_source import folder_source
from engine.data.source import Source
from engine.data.torchvision_source import torchvision_source
from engine.errors import InputError

_SOURCES: dict[str, Callable[[DataConfig], Source]] = {
    "folder": folder_source,
    "csv": csv_source,
    "torchvision": torchvision_source,
    "digits": digits_source,
}


def open_source(config: DataConfig) -> Source:
    """The dataset that ``config`` names. Raises InputError where it is missing or has fewer than two classes."""
    source = _SOURCES[config.source](config)
    if not source.samples:
        raise InputError(f"{config.path or config.name}: no images found; set data.path to where the images are")
    if len(source.classes) < 2:
        raise InputError(
            f'{config.path or config.name}: only the class "{source.classes[0]}" was found; a classifier needs two'
        )
    return source
