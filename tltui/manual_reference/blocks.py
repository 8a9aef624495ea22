"""The generated blocks by name, and how they stand in a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from tltui.manual.pages import BLOCK_BEGINS, BLOCK_ENDS
from tltui.manual_reference.choices import pruners, samplers
from tltui.manual_reference.codes import exit_codes, warning_codes
from tltui.manual_reference.commands import commands
from tltui.manual_reference.keys import keys
from tltui.manual_reference.layer_columns import layer_columns
from tltui.manual_reference.protocol import engine_commands, events
from tltui.manual_reference.results import export_formats, metrics, scores
from tltui.manual_reference.settings import settings, sweep_settings

BLOCKS: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "sweep-settings": sweep_settings,
    "keys": keys,
    "layer-columns": layer_columns,
    "commands": commands,
    "events": events,
    "engine-commands": engine_commands,
    "warning-codes": warning_codes,
    "exit-codes": exit_codes,
    "metrics": metrics,
    "scores": scores,
    "export-formats": export_formats,
    "samplers": samplers,
    "pruners": pruners,
}

_BLOCK = re.compile(rf"^{BLOCK_BEGINS.pattern}$.*?^{BLOCK_ENDS}$", re.MULTILINE | re.DOTALL)


def renewed(page: str) -> str:
    """A page with its generated blocks made anew. Raises KeyError for a block that nothing makes."""
    return _BLOCK.sub(
        lambda found: f"<!-- generated: {found['name']} -->\n\n{BLOCKS[found['name']]().strip()}\n\n{BLOCK_ENDS}", page
    )
