"""Writes a sweep.toml. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.items import InlineTable, Table

from engine.config.schema import RunConfig
from engine.experiments.sweep.presets import PRESETS


def preset_to_toml(name: str, base: str, config: RunConfig) -> str:
    """The preset ``name`` as TOML. ``config``: the config that ``base`` names."""
    preset = PRESETS[name]
    return to_toml({"base": base, **preset.settings, "space": preset.space(config)}, preset.about)


def to_toml(tables: Mapping[str, Any], about: str = "") -> str:
    """A sweep.toml with these settings. ``about``: a comment on the first line."""
    document = tomlkit.document()
    if about:
        document.add(tomlkit.comment(about))
    for key, value in tables.items():
        document.add(key, _space(value) if key == "space" else tomlkit.item(value))
    return tomlkit.dumps(document)


def space_to_toml(space: Mapping[str, Any]) -> str:
    """The lines of [space], without its heading."""
    return tomlkit.dumps(_space(space)).rstrip("\n")


def _space(space: Mapping[str, Any]) -> Table:
    table = tomlkit.table()
    for key, value in space.items():
        table.add(tomlkit.key(key), tomlkit.item(value) if isinstance(value, list) else _inline(value))
    return table


def _inline(values: dict[str, Any]) -> InlineTable:
    table = tomlkit.inline_table()
    table.update(values)
    return table
