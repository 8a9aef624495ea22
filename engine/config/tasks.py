"""The tasks that data.task takes: adding one is adding a module and an entry here. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class TaskSpec(msgspec.Struct, frozen=True):
    """A run's task and what it predicts.

    ``task``: its name in ``TASKS``. ``classes``: names of the classes, labels or numbers, in order.
    """

    task: str
    classes: list[str]


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """``help``: what the network predicts. ``target``: its class, an ``engine.compute.task.Task``.

    ``score``: the validation metric that makes an epoch the best, the highest one.
    """

    help: str
    target: str
    score: str


TASKS = {
    "single": TaskEntry("one class per image", "engine.tasks.single:SingleLabel", "accuracy"),
}
AUTO = "auto"
"""The value of data.task with which the dataset decides."""
