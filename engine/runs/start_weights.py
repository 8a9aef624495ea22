"""Earlier runs as initial weights: ``model.weights = "run:ID@CHECKPOINT"``. Imports no torch.

CHECKPOINT is "best", "last" or the number of an epoch.

An id means a run beside the new one. It becomes an absolute path when the run is created, so that the worker finds
it from any folder.
"""

from __future__ import annotations

from pathlib import Path

from engine.config.schema import RunConfig
from engine.errors import InputError

PREFIX = "run:"
CHECKPOINTS = ("best", "last")


def is_run(weights: str) -> bool:
    """Whether ``model.weights`` names an earlier run."""
    return weights.startswith(PREFIX)


def with_run_path(weights: str, runs: Path) -> str:
    """``model.weights`` with the absolute path of a run in place of its id: "run:/…/3fa2-digits-resnet18@best".

    Other weights stay as they are. Raises InputError for an unknown run, an ambiguous id and an unknown checkpoint.
    """
    if not is_run(weights):
        return weights
    name, checkpoint = _split(weights)
    return f"{PREFIX}{_find(runs, name)}@{checkpoint}"


def resolve_start_weights(config: RunConfig, runs: Path) -> RunConfig:
    """``config`` with the path of an earlier run in place of its id. Raises InputError as ``with_run_path`` does."""
    weights = with_run_path(config.model.weights, runs)
    return config.model_copy(update={"model": config.model.model_copy(update={"weights": weights})})


def run_and_checkpoint(weights: str) -> tuple[Path, str]:
    """The run's folder and the checkpoint that ``with_run_path`` names. Raises InputError where the run is gone."""
    name, checkpoint = _split(weights)
    folder = Path(name)
    if not folder.is_absolute() or not (folder / "run.toml").is_file():
        raise InputError(f'model.weights = "{weights}": there is no such run; `tltui runs` lists them')
    return folder, checkpoint


def _split(weights: str) -> tuple[str, str]:
    name, at, checkpoint = weights.removeprefix(PREFIX).rpartition("@")
    if not at or (Path(weights.removeprefix(PREFIX)) / "run.toml").is_file():
        return weights.removeprefix(PREFIX), CHECKPOINTS[0]
    if checkpoint not in CHECKPOINTS and not checkpoint.isdecimal():
        raise InputError(f'model.weights = "{weights}": "@{checkpoint}" is no checkpoint; write @best, @last or @EPOCH')
    return name, checkpoint


def _find(runs: Path, name: str) -> Path:
    """The folder of a run by its id, a unique prefix of it, or its path."""
    known = [path.parent for path in runs.glob("*/run.toml")]
    found = [path for path in known if path.name == name] or [
        path for path in known if name and path.name.startswith(name)
    ]
    if len(found) == 1:
        return found[0].resolve()
    if found:
        ids = ", ".join(sorted(path.name for path in found)[:5])
        raise InputError(f'model.weights: "{name}" means {len(found)} runs: {ids}; write more of it')
    path = Path(name).expanduser()
    if name and (path / "run.toml").is_file():
        return path.resolve()
    raise InputError(f'model.weights: there is no run "{name}" in {runs}; `tltui runs` lists them')
