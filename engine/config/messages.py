"""Messages about settings: the values that a field takes, and errors in values. Imports no torch."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any, get_origin

from pydantic.fields import FieldInfo

from engine.config.choices import choices_of
from engine.config.schema import PHASE_SETTINGS, Phase, RunConfig, is_list_of_tables, list_item, settings
from engine.config.synonyms import SYNONYMS


def allowed(field: FieldInfo) -> str:
    """The values of a field in words: its choices, or its type and range, such as ``number, 0 ≤ x ≤ 0.8``."""
    if (choices := choices_of(field)) is not None:
        return " | ".join(str(choice).lower() for choice in choices)
    if is_list_of_tables(field):
        return "tables"
    if get_origin(field.annotation) is list:
        return f"list of {_KINDS[list_item(field)]}s".replace("texts", "texts in quotes")
    if any(_has(constraint, "pattern") for constraint in field.metadata):
        return str(field.description)  # the description of such a field lists its values
    kind = _KINDS.get(field.annotation, "a table")
    low = next((f"{m.gt} <" if hasattr(m, "gt") else f"{m.ge} ≤" for m in field.metadata if _has(m, "gt", "ge")), "")
    high = next((f"< {m.lt}" if hasattr(m, "lt") else f"≤ {m.le}" for m in field.metadata if _has(m, "lt", "le")), "")
    return f"{kind}, {' '.join(part for part in (low, 'x', high) if part)}" if low or high else kind


_KINDS: dict[Any, str] = {bool: "true | false", int: "whole number", float: "number", str: "text"}


def _has(constraint: object, *names: str) -> bool:
    return any(hasattr(constraint, name) for name in names)


_SETTING_OF = {synonym: key for key, synonyms in SYNONYMS.items() for synonym in synonyms}
_NEAR = 0.82  # of difflib's ratio: a letter or two differ
_SHORTEST = 5  # letters of a misspelled word; shorter ones are near to too many others


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message that suggests the name in ``known`` nearest to ``word``; "" if none is near."""
    names = list(known)
    meant = near_name(word, names)
    return f'; did you mean "{meant}"?' if meant else ""


def near_name(word: str, names: Sequence[str]) -> str:
    """The name that ``word`` misspells, names in another section, or names in another library's terms; "" if none."""
    lowered = word.lower().replace("-", "_")
    leaf = lowered.rpartition(".")[2]
    meant = {synonym: key for synonym, key in _SETTING_OF.items() if key in names}
    meant |= {name.rpartition(".")[2]: name for name in reversed(names)}
    if leaf in meant:
        return meant[leaf]
    if near := difflib.get_close_matches(lowered, names, n=1, cutoff=_NEAR):
        return near[0]
    near = difflib.get_close_matches(leaf, list(meant), n=1, cutoff=_NEAR) if len(leaf) >= _SHORTEST else []
    return meant[near[0]] if near else ""


def explain(error: dict[str, Any]) -> str:
    """The message for one of pydantic's errors."""
    match error["loc"]:
        case ("recipe", "phases", int(index), *inside):
            return f"phase {index + 1} of recipe.phases: {_sentence_in_phase(error, inside)}"
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return (
            f'"{key}" is not a setting{did_you_mean(key, dict(settings()))}'
            if "." in key
            else _unknown_at_top(key, error["input"])
        )
    if key in RunConfig.model_fields and error["type"] in ("model_type", "model_attributes_type"):
        return _section_expected(key, error["input"])
    message = str(error["msg"]).removeprefix("Value error, ")
    setting = dict(settings()).get(".".join(key.split(".")[:2]))
    if setting is None or error["type"] == "value_error":
        return f"{key}: {message}".removeprefix(": ")
    return f"{key} = {error['input']!r:.80} can't be used: it takes {allowed(setting)}"


def _unknown_at_top(key: str, value: object) -> str:
    """The message for an unknown table or a setting outside its section."""
    if isinstance(value, dict):
        sections = list(RunConfig.model_fields)
        near = difflib.get_close_matches(key.lower(), sections, n=1, cutoff=_NEAR)
        section = near[0] if near else _SETTING_OF.get(key.lower(), "").partition(".")[0]
        return f"[{key}] is not a section{f'; did you mean [{section}]?' if section else ''}"
    return f'"{key}" stands in no section{did_you_mean(key, dict(settings()))}'


def _section_expected(section: str, value: object) -> str:
    """The message for a value in place of a section, like ``model = "resnet18"``."""
    keys = (key for key, _ in settings() if key.startswith(f"{section}."))
    first = {"data": "path"}.get(section, next(keys).partition(".")[2])
    example = json.dumps(value, ensure_ascii=False) if isinstance(value, str | int | float) else "…"
    return f"`{section}` is a section: write `[{section}]` with {first} = {example:.80}"


def _sentence_in_phase(error: dict[str, Any], inside: list[str | int]) -> str:
    if not inside:
        if error["type"] == "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
        return f"{error['input']!r:.80} can't be used: it takes a table"
    name, known = str(inside[0]), dict(settings())
    if error["type"] == "extra_forbidden":
        return f'"{name}" is no setting of a phase{_meant_in_phase(name)}'
    takes = allowed(known[_setting_of_phase(name)])
    if error["type"] == "missing":
        return f"{name} is missing; it takes {takes}"
    return f"{name} = {error['input']!r:.80} can't be used: it takes {takes}"


def _meant_in_phase(name: str) -> str:
    fields = {_setting_of_phase(field): field for field in Phase.model_fields}
    meant = near_name(name, list(fields))
    return f'; did you mean "{fields[meant]}"?' if meant else ""


def _setting_of_phase(field: str) -> str:
    """The setting that takes the same values as a phase's ``field``."""
    return PHASE_SETTINGS.get(field, f"train.{field}")
