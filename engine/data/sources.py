"""Opens a dataset by the name of its data source."""

from __future__ import annotations

from engine.config.choices import load_target
from engine.config.data_sources import DATA_SOURCES
from engine.config.schema import DataConfig
from engine.data.source import Source
from engine.data.targets import check_source, with_task
from engine.errors import InputError


def open_source(config: DataConfig) -> Source:
    """The dataset that ``config`` names. Raises InputError where it is missing or has fewer than two classes."""
    source: Source = load_target(DATA_SOURCES[config.source].opener)(config)
    if not source.samples:
        raise InputError(f"{config.path or config.name}: no images found; set data.path to where the images are")
    source = with_task(source, config)
    check_source(source, config.path or config.name)
    return source
