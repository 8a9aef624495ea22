"""The settings that a recommendation changes, in several formats."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

import tomlkit

from engine.config.schema import RunConfig
from engine.experiments.linear_probe.results import Recommendation

Changes = Mapping[str, str | float | list[str]]


def recommended_changes(recommendation: Recommendation, config: RunConfig) -> Changes:
    """The recommended settings that ``config`` does not have yet, by key."""
    now = config.model_dump()
    changes = {"model.name": recommendation.model, **recommendation.settings}
    if "freeze.rules" in recommendation.settings:  # phases of a recipe would override them
        changes["recipe.phases"] = []
    return {key: value for key, value in changes.items() if now[key.split(".")[0]][key.split(".")[1]] != value}


def as_options(changes: Changes) -> str:
    """A quoted ``--set`` option for each."""
    values = {key: json.dumps(value) if isinstance(value, list) else str(value) for key, value in changes.items()}
    return " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in values.items())


def as_toml(changes: Changes) -> str:
    """As tables of a run.toml."""
    document = tomlkit.document()
    for key, value in changes.items():
        section, name = key.split(".")
        document.setdefault(section, tomlkit.table())[name] = value
    return tomlkit.dumps(document)
