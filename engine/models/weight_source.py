"""Finds the weights file that ``model.weights`` means: a file, the folder of a run or an export, or an earlier run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.errors import InputError
from engine.models.weight_files import safetensors_metadata
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder
from engine.runs.start_weights import is_run, run_and_checkpoint
from engine.runs.state import fold_all

_CHECKPOINT_FILE = EXPORT_FILE = "model.safetensors"
_EXPORT_KEY = "tltui"  # of an export's metadata


@dataclass(frozen=True)
class WeightsFile:
    """``state_dict``: the name of one of several in the file, or ""; ``classes``: of its head, empty if unknown."""

    path: Path
    state_dict: str
    classes: list[str]


class _ExportMetadata(msgspec.Struct):
    classes: list[str] = []


class _Totals(msgspec.Struct):
    done: int


class _Trainer(msgspec.Struct):
    """The part of a checkpoint's trainer.json that dates it; ``totals.done`` counts steps of the next epoch."""

    epoch: int
    totals: _Totals


def find_weights(weights: str) -> WeightsFile:
    """The file for ``model.weights``, other than "default" and "none". Raises InputError where there is none."""
    if is_run(weights):
        folder, checkpoint = run_and_checkpoint(weights)
        return WeightsFile(_checkpoint_file(RunFolder(folder), checkpoint), "", _classes_of_run(RunFolder(folder)))
    path, name = Path(weights).expanduser(), ""
    if not path.exists() and "#" in weights:
        text, _, name = weights.rpartition("#")
        path = Path(text).expanduser()
    if path.is_dir():
        path = _file_in(path)
    return WeightsFile(path, name, _classes(path))


def _file_in(folder: Path) -> Path:
    if (folder / "run.toml").is_file():
        return _checkpoint_file(RunFolder(folder), "best")
    if (folder / EXPORT_FILE).is_file():
        return folder / EXPORT_FILE
    raise InputError(
        f"{folder}: is neither a run nor an export with weights (`tltui export --format safetensors`); "
        "set model.weights to a file"
    )


def _checkpoint_file(folder: RunFolder, checkpoint: str) -> Path:
    """The weights of the checkpoint "best", "last", or of an epoch by number."""
    if checkpoint.isdecimal():
        return _epoch_checkpoint(folder, int(checkpoint)) / _CHECKPOINT_FILE
    path = folder.checkpoints / checkpoint / _CHECKPOINT_FILE
    if not path.is_file():
        raise InputError(
            f"run {folder.id} has no {checkpoint} checkpoint; choose another run, or ask for a checkpoint "
            "with `tltui steer RUN checkpoint`"
        )
    return path


def _epoch_checkpoint(folder: RunFolder, epoch: int) -> Path:
    """The checkpoint at the end of an epoch. A run keeps few: the best, the last and the one before."""
    kept = {found: path for path in sorted(folder.checkpoints.glob("step-*")) if (found := _completed_epoch(path))}
    if epoch in kept:
        return kept[epoch]
    epochs = ", ".join(map(str, sorted(kept))) or "none"
    raise InputError(
        f"run {folder.id} keeps no checkpoint of epoch {epoch}; it keeps those of epochs: {epochs}; write one of them, "
        "@best or @last"
    )


def _completed_epoch(checkpoint: Path) -> int | None:
    """The epoch at whose end a checkpoint was written; None for one within an epoch."""
    try:
        trainer = msgspec.json.decode((checkpoint / "trainer.json").read_bytes(), type=_Trainer)
    except (OSError, msgspec.MsgspecError):
        return None
    return None if trainer.totals.done else trainer.epoch


def _classes(path: Path) -> list[str]:
    """The classes of an export's or a checkpoint's head."""
    run = path.resolve().parents[2] if len(path.resolve().parents) > 2 else path
    if (
        path.name == _CHECKPOINT_FILE
        and (run / "run.toml").is_file()
        and path.resolve().parent.parent == (run / "checkpoints")
    ):
        return _classes_of_run(RunFolder(run))
    try:
        return msgspec.json.decode(safetensors_metadata(path).get(_EXPORT_KEY, "{}"), type=_ExportMetadata).classes
    except msgspec.MsgspecError:
        return []


def _classes_of_run(folder: RunFolder) -> list[str]:
    data = fold_all(EventTail(folder, steps=False).poll()).data
    return data.classes if data else []
