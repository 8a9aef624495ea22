"""Opens a dataset by the name of its data source."""

from __future__ import annotations

from engine.config.choices import load_target
from engine.config.data_sources import DATA_SOURCES
from engine.config.schema import DataConfig
from engine.data.source import Source
from engine.data.targets import check_source, with_task
from engine.errors import InputError


def open_source(config: DataConfig) -> Source:
    """The dataset that ``config`` names, with the targets of its task.

    Raises InputError where it is missing, or where it has too few classes for the task.
    """
    source: Source = load_target(DATA_SOURCES[config.source].opener)(config)
    where = config.path or config.name
    if not source.samples:
        raise InputError(f"{where}: no images found; set data.path to where the images are")
    source = with_task(source, config)
    check_source(source, where)
    return source
