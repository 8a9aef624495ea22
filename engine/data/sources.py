"""Opens a dataset by the name of its data source."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine.config import data_paths
from engine.config.choices import load_target
from engine.config.data_sources import BY_PATH, DATA_SOURCES, source_of
from engine.config.schema import DataConfig
from engine.data.source import Source
from engine.data.targets import check_source, with_task
from engine.errors import InputError
from engine.files.stored_file import DiskFile, ImageFile


def open_source(config: DataConfig) -> Source:
    """The dataset that ``config`` names, with the targets of its task.

    Raises InputError where it is missing or has no images.
    """
    _check_path(config)
    source: Source = load_target(DATA_SOURCES[config.source].opener)(config)
    if not source.samples:
        raise InputError(f"{config.path or config.name}: no images found; set data.path to where the images are")
    return with_task(source, config)


def open_learnable(config: DataConfig) -> Source:
    """The dataset that ``config`` names, with enough classes to learn its task. Raises InputError."""
    source = open_source(config)
    check_source(source, config.path or config.name)
    return source


def list_images(path: Path) -> Iterable[ImageFile]:
    """The images at ``path``, which need no labels: those of a dataset, or the file itself. Raises InputError."""
    source = source_of(path)
    if not source:
        return [ImageFile(path, DiskFile(path))]
    return load_target(DATA_SOURCES[source].lister)(DataConfig(source=source, path=str(path)))


def auto_source(config: DataConfig) -> Source:
    """The dataset of the source that reads data.path. Raises InputError."""
    path = Path(config.path)
    if config.path and not data_paths.exists(path):
        raise InputError(f"{path}: there is no such folder or file; set data.path to {DATA_SOURCES[BY_PATH].example}")
    return open_source(config.model_copy(update={"source": config.resolved_source}))


def _check_path(config: DataConfig) -> None:
    """Raises InputError where data.source is another one than the path's."""
    reads = DATA_SOURCES[config.source].reads
    if reads and not reads(Path(config.path)) and (other := source_of(Path(config.path))):
        raise InputError(
            f'data.source = "{config.source}", but {config.path} is {DATA_SOURCES[other].help}; '
            f'set data.source to "{other}" or "{BY_PATH}"'
        )
