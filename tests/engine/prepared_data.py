"""Data as a run prepares them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.config.schema import RunConfig
from engine.data.prepare import Data, load_data
from engine.data.sources import open_source
from engine.models.preprocessing import Preprocessing
from engine.runs.events import DataReady
from engine.runs.folder import create
from engine.runs.progress import quiet

PREPROCESSING = Preprocessing(32, 36, (0.5,) * 3, (0.5,) * 3, "bilinear")


def no_problem(code: str, sentence: str) -> None:
    """Fails where the cache does; what the data are like is another matter."""
    if code.startswith("cache"):
        raise AssertionError(f"{code}: {sentence}")


def prepared(
    config: RunConfig, tmp_path: Path, tell: Callable[[str, str], None] = no_problem
) -> tuple[Data, DataReady, Path]:
    folder = create(tmp_path / "runs", config)
    preprocessing = replace(PREPROCESSING, value_range=config.data.fixed_value_range)
    data, ready = load_data(open_source(config.data), config, preprocessing, folder, quiet, tell, measures=True)
    return data, ready, folder.splits
