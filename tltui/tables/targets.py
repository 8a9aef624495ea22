"""What a dataset is labelled with, in words."""

from __future__ import annotations

from engine.config.tasks import TASKS
from engine.runs.events import DataReady


def targets(data: DataReady) -> str:
    """The number of classes, labels or numbers: "3 classes", "2 classes, soft labels"."""
    counted = TASKS.get(data.task, TASKS["single"]).counted(len(data.classes))
    return f"{counted}{', soft labels' if data.soft_labels else ''}"
