"""What a dataset is labelled with, in words."""

from __future__ import annotations

from engine.config.tasks import TASKS
from engine.runs.events import DataReady


def targets(data: DataReady) -> str:
    """The number of classes, labels or numbers: "3 classes", "2 classes, soft labels"."""
    noun = TASKS[data.task].noun if data.task in TASKS else "class"
    count = len(data.classes)
    plural = "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{plural if count != 1 else ''}{', soft labels' if data.soft_labels else ''}"
