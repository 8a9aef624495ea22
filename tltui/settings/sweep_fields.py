"""The fields of the sweep form as text, and the sweep that they define."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.schema import RunConfig
from engine.config.toml_io import to_toml
from engine.errors import InputError
from engine.experiments.sweep.definition import Sweep, SweepFile, define, from_tables
from engine.experiments.sweep.presets import PRESETS
from engine.experiments.sweep.sweep_toml import space_to_toml
from engine.experiments.sweep.sweep_toml import to_toml as sweep_to_toml
from engine.files.atomic import write_atomically

OWN = "own"
FOLDER = "sweeps"  # below that of the runs
BASE = "base.toml"


@dataclass(frozen=True)
class SweepFields:
    """The texts of the form. ``space``: the lines of [space]; ``kind``: the preset that it was filled from."""

    kind: str
    sampler: str
    pruner: str
    trials: str
    minutes: str
    parallel: str
    space: str

    def sweep(self, base: RunConfig) -> Sweep:
        """The sweep. Raises InputError for the first invalid field."""
        return define(Path(f"{self.kind}.toml"), self._file(), base)

    def write(self, runs_dir: Path, base: RunConfig) -> Path:
        """Write sweep.toml and base.toml below ``runs_dir``; the same sweep always has the same path.

        Returns the path of the sweep. Raises InputError.
        """
        folder = runs_dir / FOLDER / self.sweep(base).name
        path = folder / f"{self.kind}.toml"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(folder / BASE, to_toml(base).encode())
            write_atomically(path, sweep_to_toml(self._file().model_dump()).encode())
        except OSError as error:
            raise InputError(f"{folder}: can't be written ({error.strerror}); free disk space") from None
        return path

    def _file(self) -> SweepFile:
        tables: dict[str, Any] = {"base": BASE, "sampler": self.sampler, "pruner": self.pruner}
        for key, text, number in (
            ("trials", self.trials, int),
            ("minutes", self.minutes, float),
            ("parallel", self.parallel, int),
        ):
            try:
                tables[key] = number(text or "0")
            except ValueError:
                tables[key] = text
        return from_tables({**tables, "space": self._space()}, "")

    def _space(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.space)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(f"what varies can't be read: {error}") from None


def filled(kind: str, base: RunConfig) -> SweepFields:
    """The form filled with a preset for ``base``."""
    preset = PRESETS[kind]
    settings = SweepFile(base=BASE, space=preset.space(base), **preset.settings)
    return SweepFields(
        kind=kind,
        sampler=settings.sampler,
        pruner=settings.pruner,
        trials=str(settings.trials),
        minutes=f"{settings.minutes:g}",
        parallel=str(settings.parallel),
        space=space_to_toml(settings.space),
    )


def budget_text(sweep: Sweep) -> str:
    """The limits after which the sweep ends."""
    limits = [f"{sweep.wanted} trials"] if sweep.wanted else []
    limits += [f"{sweep.minutes:g} minutes"] if sweep.minutes else []
    return ", or ".join(limits)
