"""sweep.toml: what a sweep tries, how, and for how long. Imports neither torch nor Optuna."""

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

LOG = "sweeps.log"  # beside the runs: what the processes of sweeps print
if TYPE_CHECKING:
    SamplerName = PrunerName = str
else:
    SamplerName, PrunerName = Literal[tuple(SAMPLERS)], Literal[tuple(PRUNERS)]


class SweepFile(Section):
    """The settings of sweep.toml."""

    base: str = Field(min_length=1, description='what is varied: a config, a run, or "demo"')
    sampler: SamplerName = Field(default="tpe", description=f"chooses the settings of trials; {describe(SAMPLERS)}")
    pruner: PrunerName = Field(default="median", description=f"stops unpromising trials early; {describe(PRUNERS)}")
    trials: int = Field(default=0, ge=0, le=100_000, description="how many; 0: until the minutes or the grid are over")
    minutes: float = Field(default=0.0, ge=0, description="after these no other trial starts; 0: no limit")
    parallel: int = Field(default=1, ge=1, le=256, description="trials at a time; they share the cores")
    storage: str = Field(default="", description="an Optuna storage URL; empty: a file beside the runs")
    space: dict[str, Any] = Field(min_length=1, description="by setting a list of values, or { low, high, log }")


class Sweep(msgspec.Struct, kw_only=True):
    """A sweep as all of its workers know it. ``base`` holds the settings of a RunConfig, by section."""

    name: str
    base: dict[str, dict[str, Any]]
    space: list[Dimension]
    sampler: str  # one of Sampler, unless another version made the sweep; the same holds for the pruner
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
        """How many trials there will be; 0 if time alone limits them."""
        if self.sampler == GRID:
            size = grid_size(self.space)
            return min(size, self.trials or size)
        return self.trials


def read_file(path: Path) -> SweepFile:
    """Read a sweep.toml. Raises InputError."""
    return from_tables(read_toml(path, "`tltui sweep --ready rates` writes one"), f"{path}: ")


def from_tables(tables: Mapping[str, Any], where: str) -> SweepFile:
    """Validate what a sweep.toml holds; ``where`` begins the sentence. Raises InputError."""
    try:
        return SweepFile.model_validate(tables)
    except ValidationError as error:
        raise InputError(where + "; ".join(_sentence(dict(item)) for item in error.errors())) from None


def define(path: Path, file: SweepFile, base: RunConfig) -> Sweep:
    """The sweep that ``file``, read from ``path``, describes. Raises InputError for a space that can't be used.

    Its name is that of the file and a digest of what is tried and how; so the same file again means the same sweep,
    also with another budget.
    """
    try:
        space = read_space(file.space, path.resolve().parent)
        validate(base, space)
        combinations = grid_size(space) if file.sampler == GRID else 0
        if not (file.trials or file.minutes or combinations):
            raise InputError("trials and minutes are both 0; set one of them, so that the sweep ends")
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
