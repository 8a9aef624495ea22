"""The definition of a sweep, as in sweep.toml: search space, sampler, pruner and budget.

Imports neither torch nor Optuna.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from pydantic import Field, ValidationError

from engine.config.messages import allowed, did_you_mean
from engine.config.schema import RunConfig, Section
from engine.config.toml_io import from_tables as config_from_tables
from engine.config.toml_io import read_toml
from engine.errors import InputError
from engine.experiments.sweep.samplers import GRID, PRUNERS, SAMPLERS, describe
from engine.experiments.sweep.search_space import Dimension, grid_size, read_space, validate

LOG = "sweeps.log"  # beside the runs: output of the worker processes
if TYPE_CHECKING:
    SamplerName = PrunerName = str
else:
    SamplerName, PrunerName = Literal[tuple(SAMPLERS)], Literal[tuple(PRUNERS)]


class SweepFile(Section):
    """The settings of sweep.toml."""

    base: str = Field(min_length=1, description='the settings to vary: those of a config file, a run, or "demo"')
    sampler: SamplerName = Field(default="tpe", description=f"chooses the settings of trials; {describe(SAMPLERS)}")
    pruner: PrunerName = Field(default="median", description=f"stops unpromising trials early; {describe(PRUNERS)}")
    trials: int = Field(
        default=0, ge=0, le=100_000, description="number of trials; 0: until the time or the grid is exhausted"
    )
    minutes: float = Field(default=0.0, ge=0, description="time after which no further trial starts; 0: no limit")
    parallel: int = Field(default=1, ge=1, le=256, description="trials that run at the same time; they share the cores")
    storage: str = Field(default="", description="an Optuna storage URL; empty: a file beside the runs")
    space: dict[str, Any] = Field(min_length=1, description="for each setting a list of values, or { low, high, log }")


class Sweep(msgspec.Struct, kw_only=True):
    """The definition that all workers of a sweep share. ``base``: settings of a RunConfig, by section."""

    name: str
    base: dict[str, dict[str, Any]]
    space: list[Dimension]
    sampler: str  # a key of SAMPLERS, and pruner one of PRUNERS, unless another version created the sweep
    pruner: str
    trials: int
    minutes: float
    parallel: Annotated[int, msgspec.Meta(ge=1)]

    @property
    def config(self) -> RunConfig:
        """The config that the trials vary. Raises InputError."""
        return config_from_tables(self.base)

    @property
    def wanted(self) -> int:
        """The number of trials in the budget; 0 if only time limits them."""
        if self.sampler == GRID:
            size = grid_size(self.space)
            return min(size, self.trials or size)
        return self.trials


def read_file(path: Path) -> SweepFile:
    """Read a sweep.toml. Raises InputError."""
    return from_tables(read_toml(path, "`tltui sweep --ready rates` writes one"), f"{path}: ")


def from_tables(tables: Mapping[str, Any], where: str) -> SweepFile:
    """Validate the content of a sweep.toml. Raises InputError whose message begins with ``where``."""
    try:
        return SweepFile.model_validate(tables)
    except ValidationError as error:
        raise InputError(where + "; ".join(_sentence(dict(item)) for item in error.errors())) from None


def define(path: Path, file: SweepFile, base: RunConfig) -> Sweep:
    """The sweep that ``file``, read from ``path``, defines. Raises InputError for a space that can't be used.

    Its name holds the file's name and a digest of base, space, sampler and pruner. So the same file resumes the same
    sweep, also with another budget.
    """
    try:
        space = read_space(file.space, path.resolve().parent)
        validate(base, space)
        combinations = grid_size(space) if file.sampler == GRID else 0
        if not (file.trials or file.minutes or combinations):
            raise InputError("trials and minutes are both 0, so the sweep would never end; set one of them")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    tried = (base.model_dump(), space, file.sampler, file.pruner)
    digest = hashlib.sha256(msgspec.json.encode(tried)).hexdigest()
    return Sweep(
        name=f"{path.stem}-{digest[:6]}",
        base=base.model_dump(),
        space=space,
        sampler=file.sampler,
        pruner=file.pruner,
        trials=file.trials,
        minutes=file.minutes,
        parallel=file.parallel,
    )


def _sentence(error: dict[str, Any]) -> str:
    key = str(error["loc"][0])
    fields = SweepFile.model_fields
    if error["type"] == "extra_forbidden":
        return f'"{key}" is not a setting of a sweep{did_you_mean(key, list(fields))}'
    if error["type"] == "missing":
        return f"{key} is missing: {fields[key].description}"
    return f"{key} = {error['input']!r:.80} can't be used: it takes {allowed(fields[key])}"
