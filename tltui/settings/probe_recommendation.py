"""The settings that an advice changes, to take over."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

import tomlkit

from engine.config.schema import RunConfig
from engine.experiments.linear_probe.results import Recommendation

Changes = Mapping[str, str | float | list[str]]


def recommended_changes(advice: Recommendation, config: RunConfig) -> Changes:
    """What is advised and not so in ``config`` yet, by key."""
    now = config.model_dump()
    wanted = {"model.name": advice.model, **advice.settings}
    if "freeze.rules" in advice.settings:  # which the phases of a recipe would overrule
        wanted["recipe.phases"] = []
    return {key: value for key, value in wanted.items() if now[key.split(".")[0]][key.split(".")[1]] != value}


def as_options(changes: Changes) -> str:
    """``--set`` for each, as a shell takes it."""
    values = {key: json.dumps(value) if isinstance(value, list) else str(value) for key, value in changes.items()}
    return " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in values.items())


def as_toml(changes: Changes) -> str:
    """As tables of a run.toml."""
    document = tomlkit.document()
    for key, value in changes.items():
        section, name = key.split(".")
        document.setdefault(section, tomlkit.table())[name] = value
    return tomlkit.dumps(document)
