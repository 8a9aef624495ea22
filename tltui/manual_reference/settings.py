"""The settings of run.toml and sweep.toml."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic.fields import FieldInfo

from engine.config.messages import allowed
from engine.config.schema import PHASE_SETTINGS, RunConfig, Section, is_list_of_tables, is_live, list_item
from engine.config.schema import settings as known_settings
from engine.experiments.sweep.definition import SweepFile
from tltui.manual_reference.words import prose


def settings() -> str:
    """Every section and setting of run.toml."""
    return "\n\n".join(_sections())


def sweep_settings() -> str:
    """Every setting of sweep.toml."""
    return "\n\n".join(_entry(3, name, field, live=False) for name, field in SweepFile.model_fields.items())


def _sections() -> Iterator[str]:
    for section, of in RunConfig.model_fields.items():
        assert isinstance(of.annotation, type)
        yield f"### `[{section}]`"
        yield prose(of.annotation.__doc__)
        for key, field in known_settings():
            if key.startswith(f"{section}."):
                yield _entry(4, key, field, live=is_live(key))


def _entry(level: int, key: str, field: FieldInfo, *, live: bool) -> str:
    facts = [] if field.is_required() else [f"Default: `{_as_toml(field.get_default(call_default_factory=True))}`."]
    if (takes := allowed(field)) != field.description:
        facts.append(f"Takes: {prose(takes)}.")
    if live:
        facts.append("● Can change while a run trains.")
    entry = f"{'#' * level} `{key}`\n\n{prose(field.description)}.\\\n{' '.join(facts)}"
    return f"{entry}\n\n{_table_fields(field)}" if is_list_of_tables(field) else entry


def _table_fields(field: FieldInfo) -> str:
    item = list_item(field)
    assert issubclass(item, Section)
    lines = []
    for name, inner in item.model_fields.items():
        like = PHASE_SETTINGS.get(name, f"train.{name}")
        lines.append(f"- `{name}`: as `{like}`" + (", required" if inner.is_required() else ", optional"))
    return "\n".join(lines)


def _as_toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_as_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
