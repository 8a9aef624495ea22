"""The trained network of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.config.schema import RunConfig
from engine.errors import InputError, first_line
from engine.models import registry
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder
from engine.runs.state import RunState, fold_all
from engine.training import checkpoints


@dataclass(frozen=True)
class Trained:
    """A run's network with the weights of its ``best`` epoch, or else of its last checkpoint.

    ``checkpoint`` names the folder they come from; ``config`` is what was in force then.
    """

    folder: RunFolder
    state: RunState
    config: RunConfig
    classes: list[str]
    classifier: registry.Classifier
    checkpoint: str
    best: bool


def load_trained(folder: RunFolder) -> Trained:
    """The network of a run that has a checkpoint, also of one that still trains. Raises InputError."""
    state = fold_all(EventTail(folder, steps=False).poll())
    if state.data is None:
        raise InputError(f"run {folder.id} has not read its data yet; wait for its first checkpoint")
    classes = state.data.classes
    checkpoint, best = _sound_checkpoint(folder)
    try:
        config = checkpoints.load_config(checkpoint)
        classifier = registry.build(config.model.name, len(classes), config.head, config.data.image_size)
        checkpoints.load_weights(checkpoint, classifier.module)
    except InputError:
        raise
    except Exception as error:  # torch, safetensors and msgspec have errors of their own for what does not fit
        raise InputError(f"{checkpoint}: is no checkpoint of this run ({first_line(error)}); train it anew") from None
    classifier.module.eval()
    return Trained(folder, state, config, classes, classifier, checkpoint.name, best)


def _sound_checkpoint(folder: RunFolder) -> tuple[Path, bool]:
    """The best checkpoint, or the last where that is damaged, and whether it is the best.

    Nothing is followed out of the run's folder. Raises InputError.
    """
    problem = "none was written yet; `tltui steer RUN checkpoint` asks for one"
    for link in (checkpoints.BEST, checkpoints.LAST):
        path = folder.checkpoints / (folder.checkpoints / link).resolve().name
        if folder.checkpoints.is_symlink() or path.is_symlink() or not path.is_dir():
            continue
        odd = any(file.is_symlink() or not file.is_file() for file in path.iterdir())
        problem = "it holds more than plain files" if odd else checkpoints.find_damage(path)
        if not problem:
            return path, link == checkpoints.BEST
    raise InputError(f"run {folder.id} has no checkpoint that can be used: {problem}")
