"""The columns of the layer tree."""

from __future__ import annotations

from tltui.freeze_plan.layer_columns import COLUMNS
from tltui.manual_reference.words import prose


def layer_columns() -> str:
    """Every column of the layer tree, in the order of the key that switches them."""
    return "\n".join(f"- {prose(column.title)}: {prose(column.help)}" for column in COLUMNS)
