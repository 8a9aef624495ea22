"""The settings that differ between runs, with their changes by command during training."""

from __future__ import annotations

from collections.abc import Sequence

from engine.config.schema import RunConfig, settings
from engine.config.toml_io import with_live_setting
from engine.errors import InputError
from engine.runs import commands
from engine.runs import events as p
from engine.runs.state import RunState, common_score
from tltui.compare.explained_variance import explained_variance
from tltui.compare.structs import Change, Difference, Setting


def differences(runs: Sequence[tuple[RunConfig, RunState]]) -> list[Difference]:
    """The settings whose value or history differs, those that explain most variance first."""
    score = common_score(state.best for _, state in runs if state.best)
    outcomes = [state.best.val_metric(score) if state.best else None for _, state in runs]
    changes = [_changes(config, state) for config, state in runs]
    tables = [config.model_dump() for config, _ in runs]
    found = []
    for key, _ in settings():
        section, name = key.split(".")
        values = [
            Setting(table[section][name], changed.get(key, [])) for table, changed in zip(tables, changes, strict=True)
        ]
        if any(value != values[0] for value in values):
            found.append(Difference(key, values, explained_variance(values, outcomes)))
    return sorted(found, key=lambda difference: -(difference.explains or 0.0))


def _changes(config: RunConfig, state: RunState) -> dict[str, list[Change]]:
    """The changes of each setting by applied commands. Values from a foreign log that are invalid are ignored."""
    found: dict[str, list[Change]] = {}
    for answer in state.answers.values():
        if not (isinstance(answer, p.CommandApplied) and isinstance(answer.command, commands.Set)):
            continue
        key = answer.command.key
        try:
            config = with_live_setting(config, key, answer.command.value)
        except InputError:
            continue
        section, name = key.split(".")
        found.setdefault(key, []).append(Change(getattr(getattr(config, section), name), answer.step))
    return found
