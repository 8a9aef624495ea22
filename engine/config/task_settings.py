"""Whether settings fit the task, which the labels may decide. Imports no torch."""

from __future__ import annotations

from engine.config.losses import LOSSES
from engine.config.schema import RunConfig, settings
from engine.config.tasks import AUTO, TASKS
from engine.errors import InputError


def check_task_settings(config: RunConfig, task: str) -> None:
    """Raises InputError for a loss of another task, and for a setting that the task has no use for."""
    loss = config.train.loss
    if loss != AUTO and task not in LOSSES[loss].tasks:
        others = " or ".join(f'"{name}"' for name in LOSSES[loss].tasks)
        raise InputError(
            f'train.loss = "{loss}" needs data.task = {others}, and the task is "{task}"; set train.loss = "{AUTO}"'
        )
    defaults = {key: field.default for key, field in settings()}
    for key in TASKS[task].unused_settings:
        section, _, name = key.partition(".")
        if getattr(getattr(config, section), name) != defaults[key]:
            default = f'"{defaults[key]}"' if isinstance(defaults[key], str) else f"{defaults[key]:g}"
            raise InputError(f'{key} has no meaning for data.task = "{task}"; set {key} = {default}')
