"""Settings while they are being typed: any of them may be wrong, and each says why. Knows no screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic.fields import FieldInfo

from engine.config.data_sources import DATA_SOURCES
from engine.config.messages import allowed
from engine.config.optimizers import OPTIMIZERS
from engine.config.schedules import SCHEDULES
from engine.config.schema import DataConfig, RunConfig, is_list_of_tables, list_item, settings
from engine.config.toml_io import from_tables, with_setting
from engine.errors import InputError

FIELDS: dict[str, FieldInfo] = dict(settings())


@dataclass(frozen=True)
class Condition:
    """A setting matters while ``applies`` is true of another. ``or_changed``: it acts in any case once it is set."""

    key: str
    applies: Callable[[Any], bool]
    or_changed: bool = False


def _is_source_setting(name: str) -> Callable[[Any], bool]:
    return lambda source: source in DATA_SOURCES and name in DATA_SOURCES[source].settings


# The settings that matter only sometimes; all others always do.
CONDITIONS: dict[str, Condition] = {
    "data.path": Condition("data.source", _is_source_setting("path")),
    "data.name": Condition("data.source", _is_source_setting("name")),
    "data.workers": Condition("data.augment", lambda augment: augment != "none", or_changed=True),
    "optimizer.momentum": Condition(
        "optimizer.name", lambda name: name in OPTIMIZERS and "momentum" in OPTIMIZERS[name].settings
    ),
    "schedule.warmup_epochs": Condition(
        "schedule.name", lambda name: name in SCHEDULES and not SCHEDULES[name].has_own_warmup, or_changed=True
    ),
}

# Against this config one setting is judged alone: whatever its value, no rule about two settings speaks up.
_NEUTRAL = RunConfig(data=DataConfig(source="digits", path="images", name="Flowers102"))


class SettingsDraft:
    """The tables of a run.toml that need not be valid yet."""

    def __init__(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Settings that ``tables`` leaves out have their default."""
        self.tables: dict[str, dict[str, Any]] = defaults()
        for section, table in tables.items():
            self.tables[section].update(deepcopy(dict(table)))

    @classmethod
    def of(cls, config: RunConfig) -> SettingsDraft:
        return cls(config.model_dump())

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 (a setting's value has whatever type the setting has)
        section, name = key.split(".")
        return self.tables[section][name]

    def __setitem__(self, key: str, value: Any) -> None:  # noqa: ANN401
        section, name = key.split(".")
        self.tables[section][name] = value

    def is_changed(self, key: str) -> bool:
        """Whether a setting differs from its default."""
        return self[key] != default(key)

    def matters(self, key: str) -> bool:
        """Whether a setting has an effect, given the others."""
        when = CONDITIONS.get(key)
        return when is None or when.applies(self[when.key]) or (when.or_changed and self.is_changed(key))

    def problem(self, key: str) -> str:
        """Why the value of one setting can't be used, whatever the others are; empty if it can."""
        try:
            with_setting(_NEUTRAL, key, self[key])
        except InputError as error:
            reason = _without_key(str(error), key)
            return f"takes {FIELDS[key].description}" if reason == "takes text" else reason
        return ""

    def problems(self) -> dict[str, str]:
        """All that stands between this draft and a config, by setting; what concerns several stands at the first."""
        found = {key: problem for key in FIELDS if (problem := self.problem(key))}
        if not found:
            try:
                self.config()
            except InputError as error:
                message = str(error)
                named = [key for key in FIELDS if key in message] or ["data.source"]
                found[min(named, key=message.find)] = message
        return found

    def config(self) -> RunConfig:
        """The draft as a valid config. Raises InputError."""
        return from_tables(self.tables)


def default(key: str) -> Any:  # noqa: ANN401
    """A setting's default."""
    return deepcopy(FIELDS[key].get_default(call_default_factory=True))


def defaults() -> dict[str, dict[str, Any]]:
    """The tables of a run.toml with every default."""
    tables: dict[str, dict[str, Any]] = {}
    for key in FIELDS:
        section, name = key.split(".")
        tables.setdefault(section, {})[name] = default(key)
    return tables


def to_text(value: object) -> str:
    """A value as one types it: lists with commas between the items, numbers in their shortest form.

    Phases, which nobody types, in short.
    """
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{len(value)} phase{'s' * (len(value) > 1)}, {'+'.join(str(phase['epochs']) for phase in value)} epochs"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)


def from_text(key: str, text: str) -> object:
    """What was typed for a setting as a value of its type; the text itself where it is none, for ``problem`` to say."""
    field = FIELDS[key]
    if get_origin(field.annotation) is list:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return [_read(list_item(field), part) for part in parts]
    kind = field.annotation
    return _read(kind, text.strip()) if isinstance(kind, type) else text


def range_of(key: str) -> str:
    """What a setting takes, as short as can be: ``0 ≤ x < 1``, or nothing where anything goes."""
    if is_list_of_tables(FIELDS[key]):
        return ""
    if get_origin(FIELDS[key].annotation) is list:
        return "commas between"
    kind, _, bounds = allowed(FIELDS[key]).partition(", ")
    return bounds or ("" if kind == "text" else kind)


def _read(kind: type, text: str) -> object:
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return text
    return text


def _without_key(message: str, key: str) -> str:
    """The reason alone: which setting it is about stands beside it."""
    _, found, reason = message.partition("can't be used: it ")
    return reason if found else message.removeprefix(f"{key.split('.', maxsplit=1)[0]}: ").removeprefix(f"{key}: ")
