"""Reads and writes run.toml, and changes settings of a config. Imports no torch."""

from __future__ import annotations

import json
import math
import operator
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import ValidationError

from engine.config.messages import allowed, did_you_mean, explain
from engine.config.model_names import FOLDER
from engine.config.schema import SPLIT_METHODS, RunConfig, is_list_of_tables, is_live, settings
from engine.errors import InputError
from engine.files.safe_open import open_regular

_LARGEST_FILE = 2**20  # bytes of a run.toml that are read
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_RELATIVE = re.compile(r"(?P<operation>[-+*/]) *(?P<number>\d+(\.\d*)?(e[-+]?\d+)?)", re.IGNORECASE)
_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda current, number: current / number if number else math.inf,
}
_NO_PATHS = {"data.split": SPLIT_METHODS, "model.weights": ("default", "none")}  # values of settings that take paths


def load(path: Path, overrides: Mapping[str, str] | None = None) -> RunConfig:
    """Read and validate a run.toml; relative paths in it are relative to the file's folder.

    ``overrides`` maps ``section.key`` to a value as TOML (or plain text), as ``--set`` gives them; relative
    paths there are relative to the current folder. Raises InputError.
    """
    tables = read_toml(path, "write a config with `tltui new`")
    resolve_paths(tables, path.resolve().parent)
    return from_tables(tables, overrides, where=f"{path}: ")


def read_toml(path: Path, advice: str) -> dict[str, Any]:
    """Read the tables of a TOML file. Raises InputError, with ``advice`` if the file can't be read."""
    try:
        with open_regular(path) as file:
            return tomllib.loads(file.read(_LARGEST_FILE).decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); {advice}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not valid TOML: byte {error.start + 1} is not valid UTF-8; save it as UTF-8"
        ) from None
    except RecursionError:
        raise InputError(f"{path}: not valid TOML: nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}{_advice_on_backslashes(str(error))}") from None


def _advice_on_backslashes(reason: str) -> str:
    """Advice for a path like "C:\\Users", whose backslashes begin escapes in a TOML string."""
    if "hex value" in reason or "escape" in reason or "'\\\\'" in reason:
        return "; write a path with backslashes in '…', or with / in their place"
    return ""


def from_tables(tables: Mapping[str, Any], overrides: Mapping[str, str] | None = None, *, where: str = "") -> RunConfig:
    """Validate nested tables, as TOML gives them, with ``overrides`` on top. Raises InputError."""
    changed = _overridden(tables, overrides or {})
    try:
        config = RunConfig.model_validate(changed)
    except ValidationError as error:
        raise InputError(where + "; ".join(explain(dict(item)) for item in error.errors())) from None
    if config.recipe.phases and "epochs" not in config.train.model_fields_set:
        return with_setting(config, "train.epochs", sum(phase.epochs for phase in config.recipe.phases))
    return config


def with_setting(config: RunConfig, key: str, value: object) -> RunConfig:
    """``config`` with one setting changed, validated as a whole. Raises InputError."""
    return with_settings(config, {key: value})


def with_settings(config: RunConfig, changes: Mapping[str, object]) -> RunConfig:
    """``config`` with settings changed, by ``section.key``, validated as a whole. Raises InputError."""
    tables = config.model_dump()
    for key, value in changes.items():
        section, name = _split_key(key)
        tables[section][name] = value
    return from_tables(tables)


def with_live_setting(config: RunConfig, key: str, value: object) -> RunConfig:
    """``with_setting`` for a running run. Raises InputError, also for a setting that is not live."""
    changed = with_setting(config, key, value)
    if not is_live(key):
        raise InputError(f"{key} can't change once a run has begun; start a new run with it")
    return changed


def changed_value(config: RunConfig, key: str, text: str) -> object:
    """The value that ``text`` gives a setting of a run whose settings are ``config`` now.

    For a live number, "+5" and "-5" add to it, "*0.1" and "/10" scale it. Other text is parsed as TOML. Raises
    InputError for an unknown setting.
    """
    section, name = _split_key(key)
    current = getattr(getattr(config, section), name)
    relative = _RELATIVE.fullmatch(text)
    if relative is None or not is_live(key) or not isinstance(current, int | float):
        return parse_value(text)
    result = _OPERATIONS[relative["operation"]](current, float(relative["number"]))
    return int(result) if isinstance(current, int) and result.is_integer() else float(f"{result:.12g}")


def to_toml(config: RunConfig, *, comments: bool = True) -> str:
    """The complete config as TOML, each setting with its help, its range and its default as a comment."""
    document = tomlkit.document()
    values = config.model_dump(exclude_none=True)
    for section_name, section_field in RunConfig.model_fields.items():
        table = tomlkit.table()
        section = section_field.annotation
        if comments and isinstance(section, type) and section.__doc__:
            table.comment(section.__doc__)
        for name, value in values[section_name].items():
            field = dict(settings())[f"{section_name}.{name}"]
            if comments:
                table.add(tomlkit.comment(f"{field.description}  [{allowed(field)}]"))
            if value or not is_list_of_tables(field):  # after an empty list, TOML allows no [[table]] of that name
                table.add(name, value)
        document.add(section_name, table)
    return tomlkit.dumps(document)


def resolve_paths(tables: dict[str, Any], folder: Path) -> None:
    """Resolve relative paths in nested tables of settings against ``folder``.

    Raises InputError for a missing path with control characters.
    """
    for section, key in (("data", "path"), ("data", "root"), ("data", "split"), ("model", "weights")):
        table = tables.get(section)
        value = table.get(key) if isinstance(table, dict) else None
        if not isinstance(table, dict) or not isinstance(value, str) or not value:
            continue
        if _CONTROL.search(value) and not (folder / value).exists():
            raise InputError(
                f"{section}.{key} = {json.dumps(value, ensure_ascii=False)}: holds a control character, as "
                "a backslash in \"…\" begins an escape; write a path with backslashes in '…', or with / in their place"
            )
        if value in _NO_PATHS.get(f"{section}.{key}", ()) or (section == "model" and value.startswith("run:")):
            continue
        table[key] = str(folder / Path(value).expanduser())
    model = tables.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    if isinstance(model, dict) and isinstance(name, str) and name.startswith(FOLDER):
        model["name"] = FOLDER + str(folder / Path(name.removeprefix(FOLDER)).expanduser())


def _overridden(tables: Mapping[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    changed = {name: dict(table) if isinstance(table, Mapping) else table for name, table in tables.items()}
    typed: dict[str, Any] = {}
    for key, text in overrides.items():
        section, name = _split_key(key)
        if not _is_unicode(text):
            raise InputError(f"{key} = {text}: has bytes that are not valid UTF-8; rename the file or folder")
        typed.setdefault(section, {})[name] = _typed_value(key, text)
    resolve_paths(typed, Path.cwd())
    for section, values in typed.items():
        table = changed.setdefault(section, {})
        if isinstance(table, dict):
            table.update(values)
    return changed


def _split_key(key: str) -> tuple[str, str]:
    known = dict(settings())
    if key not in known:
        raise InputError(f'"{key}" is not a setting{did_you_mean(key, known)}')
    section, name = key.split(".")
    return section, name


def parse_value(text: str) -> object:
    """Parse a typed value: TOML, or text without quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _typed_value(key: str, text: str) -> object:
    """``parse_value`` for one setting: for a text setting, a number or a date stays text."""
    value = parse_value(text)
    is_text = dict(settings())[key].annotation is str
    return text.strip() if is_text and not isinstance(value, str) else value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
