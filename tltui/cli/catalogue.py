"""Tables of networks and datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from tltui.text.numbers import number

if TYPE_CHECKING:
    from engine.data.catalogue import DatasetEntry
    from engine.models.catalogue import ModelEntry


def models_table(rows: list[ModelEntry]) -> Table:
    """One network per row."""
    table = Table("name", "parameters", "ImageNet", "input", "weights", box=None, pad_edge=False)
    for row in rows:
        parameters = number(row.parameters) if row.parameters else ""
        accuracy = f"{row.accuracy:.1%}" if row.accuracy else ""
        table.add_row(row.name, parameters, accuracy, f"{row.image_size} px", row.weights)
    return table


def datasets_table(rows: list[DatasetEntry]) -> Table:
    """One dataset per row."""
    table = Table("data.source", "data.name", "own splits", "on this machine", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.source, row.name, ", ".join(row.splits), "yes" if row.here else "no")
    return table
