"""Reads one class per image from a column of labels. Imports no torch."""

from __future__ import annotations

from engine.config.schema import DataConfig
from engine.config.targets import LabelColumns, LabelError, Target, Targets


def read_classes(columns: LabelColumns, _data: DataConfig) -> Targets:
    """A class per image: the cell of the only column. Raises LabelError for several columns."""
    if len(columns.names) > 1:
        raise LabelError(
            f"one class per image comes from one column, and there are {len(columns.names)}: "
            f"{', '.join(columns.names[:5])}; set data.label_column to one of them, or data.task to another task"
        )
    cells = [row[0] for row in columns.rows]
    classes = sorted(set(cells))
    place = {name: at for at, name in enumerate(classes)}
    return Targets(classes, [Target(place[cell]) for cell in cells])
