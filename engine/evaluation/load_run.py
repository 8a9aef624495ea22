"""Loads the trained network of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from engine.compute.task import Task, open_task
from engine.config.schema import RunConfig
from engine.errors import InputError, first_line
from engine.models import registry
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder
from engine.runs.state import RunState, fold_all, task_spec
from engine.training import checkpoints


@dataclass(frozen=True)
class TrainedRun:
    """A run's network with the weights of a checkpoint.

    ``checkpoint``: the checkpoint's name. ``best``: whether it is the best epoch's, or else the last one.
    ``config``: the settings at that checkpoint.
    """

    folder: RunFolder
    state: RunState
    config: RunConfig
    task: Task
    classifier: registry.Classifier
    checkpoint: str
    best: bool

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return self.task.spec.classes


def load_trained_run(folder: RunFolder) -> TrainedRun:
    """Load the network of a finished or running run from its best usable checkpoint. Raises InputError."""
    state = fold_all(EventTail(folder, steps=False).poll())
    if state.data is None:
        raise InputError(f"run {folder.id} has not read its dataset yet; wait for its first checkpoint")
    task = open_task(task_spec(state.data, state.evaluations))
    checkpoint, best = _usable_checkpoint(folder)
    try:
        config = checkpoints.load_config(checkpoint)
        classifier = registry.build(
            config.model.name, len(task.outputs), config.head, config.data.image_size, config.data.channels
        )
        classifier.preprocessing = replace(classifier.preprocessing, value_range=state.data.value_range)
        checkpoints.load_weights(checkpoint, classifier.module)
    except InputError:
        raise
    except Exception as error:  # torch, safetensors and msgspec each raise their own classes
        raise InputError(f"{checkpoint}: not a checkpoint of this run ({first_line(error)}); train again") from None
    classifier.module.eval()
    return TrainedRun(folder, state, config, task, classifier, checkpoint.name, best)


def _usable_checkpoint(folder: RunFolder) -> tuple[Path, bool]:
    """The best checkpoint, or the last where the best is damaged, and whether it is the best.

    Follows no link out of the run's folder. Raises InputError.
    """
    problem = "none has been written yet; `tltui steer RUN checkpoint` writes one"
    for link in (checkpoints.BEST, checkpoints.LAST):
        path = folder.checkpoints / (folder.checkpoints / link).resolve().name
        if folder.checkpoints.is_symlink() or path.is_symlink() or not path.is_dir():
            continue
        has_links = any(file.is_symlink() or not file.is_file() for file in path.iterdir())
        problem = "it holds links or special files" if has_links else checkpoints.find_damage(path)
        if not problem:
            return path, link == checkpoints.BEST
    raise InputError(f"run {folder.id} has no usable checkpoint: {problem}")
