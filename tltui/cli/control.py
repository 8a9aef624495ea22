"""Parses the actions of ``tltui steer`` into commands."""

from __future__ import annotations

from engine.config.schema import RunConfig
from engine.config.toml_io import changed_value
from engine.errors import InputError
from engine.runs.command_log import new_command_id
from engine.runs.commands import Command, Pause, Resume, SaveCheckpoint, Set

_WORDS: dict[str, type[Command]] = {"pause": Pause, "resume": Resume, "checkpoint": SaveCheckpoint}


def parse_action(text: str, config: RunConfig) -> Command:
    """``pause``, ``resume``, ``checkpoint`` or ``KEY=VALUE``, relative to the run's ``config``. Raises InputError."""
    key, equals, value = text.partition("=")
    if equals:
        key = key.strip()
        return Set(id=new_command_id(), key=key, value=changed_value(config, key, value.strip()))
    if text not in _WORDS:
        raise InputError(f'"{text}" is not an action; write {", ".join(_WORDS)} or KEY=VALUE')
    return _WORDS[text](id=new_command_id())
