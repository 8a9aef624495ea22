"""A draft of settings: values may be invalid, each with its error message. Knows no screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic.fields import FieldInfo

from engine.config.data_sources import DATA_SOURCES, resolve_source
from engine.config.losses import LOSSES
from engine.config.messages import allowed
from engine.config.optimizers import OPTIMIZERS
from engine.config.schedules import SCHEDULES
from engine.config.schema import KFOLD, DataConfig, RunConfig, is_list_of_tables, list_item, settings
from engine.config.toml_io import from_tables, with_setting
from engine.errors import InputError

FIELDS: dict[str, FieldInfo] = dict(settings())


@dataclass(frozen=True)
class Condition:
    """A setting has an effect while ``applies`` is true of ``key``; ``or_changed``: or once it is no default."""

    key: str
    applies: Callable[[Any], bool]
    or_changed: bool = False


def _is_source_setting(name: str) -> Callable[[Any], bool]:
    return lambda source: source in DATA_SOURCES and name in DATA_SOURCES[source].settings


def _is_schedule_setting(name: str) -> Callable[[Any], bool]:
    return lambda schedule: schedule in SCHEDULES and name in SCHEDULES[schedule].settings


# The settings that have an effect only sometimes; all others always do.
CONDITIONS: dict[str, Condition] = {
    **{
        f"data.{name}": Condition("data.source", _is_source_setting(name))
        for entry in DATA_SOURCES.values()
        for name in entry.settings
    },
    "data.folds": Condition("data.split", lambda split: split == KFOLD),
    "data.fold": Condition("data.split", lambda split: split == KFOLD),
    "data.workers": Condition("data.augment", lambda augment: augment != "none", or_changed=True),
    "optimizer.momentum": Condition(
        "optimizer.name", lambda name: name in OPTIMIZERS and "momentum" in OPTIMIZERS[name].settings
    ),
    "train.focal_gamma": Condition(
        "train.loss", lambda name: name in LOSSES and "focal_gamma" in LOSSES[name].settings
    ),
    **{
        f"schedule.{name}": Condition("schedule.name", _is_schedule_setting(name))
        for entry in SCHEDULES.values()
        for name in entry.settings
    },
    "schedule.warmup_epochs": Condition(
        "schedule.name", lambda name: name in SCHEDULES and not SCHEDULES[name].has_own_warmup, or_changed=True
    ),
}

# One setting is validated against this config: with it no rule about two settings fails.
_NEUTRAL = RunConfig(data=DataConfig(source="digits", path="images", name="Flowers102"))


class SettingsDraft:
    """The tables of a run.toml, not necessarily valid."""

    def __init__(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Settings missing in ``tables`` have their default."""
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

    def has_effect(self, key: str) -> bool:
        """Whether a setting has an effect, given the others."""
        when = CONDITIONS.get(key)
        if when is None:
            return True
        value = self.resolved_source if when.key == "data.source" else self[when.key]
        return when.applies(value) or (when.or_changed and self.is_changed(key))

    @property
    def resolved_source(self) -> str:
        """The data source that is read: with "auto", the one for the path."""
        return resolve_source(*(str(self[f"data.{name}"]) for name in ("source", "path", "name")))

    def problem(self, key: str) -> str:
        """The error of one setting's value, whatever the others are; "" if it is valid."""
        try:
            with_setting(_NEUTRAL, key, self[key])
        except InputError as error:
            reason = _without_key(str(error), key)
            return f"takes {FIELDS[key].description}" if reason == "takes text" else reason
        return ""

    def problems(self) -> dict[str, str]:
        """All errors by setting; one that concerns several is at the first."""
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
    """A value as a user types it: lists with commas, numbers in their shortest form; of phases a summary."""
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
    """The typed text as a value of the setting's type; the text itself where it is invalid, for ``problem``."""
    field = FIELDS[key]
    if get_origin(field.annotation) is list:
        kind = list_item(field)
        if kind is not str:  # numbers may stand in brackets, as in run.toml
            text = text.strip().removeprefix("[").removesuffix("]")
        return [_read(kind, part.strip()) for part in text.split(",") if part.strip()]
    kind = field.annotation
    return _read(kind, text.strip()) if isinstance(kind, type) else text


def range_of(key: str) -> str:
    """The allowed values in short: ``0 ≤ x < 1``; "" where any are allowed."""
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
    """The reason alone: the form shows it beside the setting."""
    _, found, reason = message.partition("can't be used: it ")
    return reason if found else message.removeprefix(f"{key.split('.', maxsplit=1)[0]}: ").removeprefix(f"{key}: ")
