"""Sentences about settings: what a field takes, and what is wrong with a value. Imports no torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, get_origin

from pydantic.fields import FieldInfo

from engine.config.choices import choices_of
from engine.config.schema import PHASE_SETTINGS, Phase, RunConfig, is_list_of_tables, list_item, settings


def allowed(field: FieldInfo) -> str:
    """What a field takes, in words: its choices, or its type and range; e.g. ``number, 0 … 0.8``."""
    if (choices := choices_of(field)) is not None:
        return " | ".join(str(choice).lower() for choice in choices)
    if is_list_of_tables(field):
        return "tables"
    if get_origin(field.annotation) is list:
        return f"list of {_KINDS[list_item(field)]}s".replace("texts", "texts in quotes")
    if any(_has(constraint, "pattern") for constraint in field.metadata):
        return str(field.description)  # such a field's help is the list of what it takes
    kind = _KINDS.get(field.annotation, "a table")
    low = next((f"{m.gt} <" if hasattr(m, "gt") else f"{m.ge} ≤" for m in field.metadata if _has(m, "gt", "ge")), "")
    high = next((f"< {m.lt}" if hasattr(m, "lt") else f"≤ {m.le}" for m in field.metadata if _has(m, "lt", "le")), "")
    return f"{kind}, {' '.join(part for part in (low, 'x', high) if part)}" if low or high else kind


_KINDS: dict[Any, str] = {bool: "true | false", int: "whole number", float: "number", str: "text"}


def _has(constraint: object, *names: str) -> bool:
    return any(hasattr(constraint, name) for name in names)


def did_you_mean(word: str, known: Mapping[str, object] | list[str]) -> str:
    """The end of a sentence that names the known word that is nearest to one that is not; "" if none is near."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if not near:  # the right name in the wrong section, or none: `lr`, `train.lr`
        leaf = word.rsplit(".", 1)[-1]
        near = difflib.get_close_matches(leaf, [name.rsplit(".", 1)[-1] for name in names], n=1, cutoff=0.6)
        near = [name for name in names if near and name.rsplit(".", 1)[-1] == near[0]]
    return f'; did you mean "{near[0]}"?' if near else ""


def explain(error: dict[str, Any]) -> str:
    match error["loc"]:
        case ("recipe", "phases", int(index), *inside):
            return f"phase {index + 1} of recipe.phases: {_sentence_in_phase(error, inside)}"
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        if "." in key:
            return f'"{key}" is not a setting{did_you_mean(key, dict(settings()))}'
        return f"[{key}] is not a section{did_you_mean(key, list(RunConfig.model_fields))}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if not key:
        return message
    setting = dict(settings()).get(".".join(key.split(".")[:2]))
    if setting is None or error["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key} = {error['input']!r:.80} can't be used: it takes {allowed(setting)}"


def _sentence_in_phase(error: dict[str, Any], inside: list[str | int]) -> str:
    if not inside:
        if error["type"] == "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
        return f"{error['input']!r:.80} can't be used: it takes a table"
    name, known = str(inside[0]), dict(settings())
    if error["type"] == "extra_forbidden":
        return f'"{name}" is no setting of a phase{did_you_mean(name, list(Phase.model_fields))}'
    takes = allowed(known[PHASE_SETTINGS.get(name, f"train.{name}")])
    if error["type"] == "missing":
        return f"{name} is missing; it takes {takes}"
    return f"{name} = {error['input']!r:.80} can't be used: it takes {takes}"
