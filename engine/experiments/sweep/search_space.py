"""The search space of a sweep: settings as choices or ranges. Imports neither torch nor Optuna."""

from __future__ import annotations

import itertools
import math
import random
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.config.messages import did_you_mean
from engine.config.schema import RunConfig, settings
from engine.config.toml_io import resolve_paths, with_settings
from engine.errors import InputError

_MOST_COMBINATIONS = 4096  # that are validated before the sweep starts; in larger spaces, each value alone


class Choices(msgspec.Struct, frozen=True, tag="choices"):
    """Settings that take one of several values. Each choice holds one value for each of ``keys``."""

    keys: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]

    @property
    def name(self) -> str:
        """The key in sweep.toml: ``optimizer.name``, or ``optimizer.name, optimizer.momentum``."""
        return ", ".join(self.keys)

    @property
    def labels(self) -> list[str]:
        """The choices as text, as Optuna stores them."""
        return [", ".join(map(text, choice)) for choice in self.values]

    def settings(self, label: Any) -> dict[str, Any]:  # noqa: ANN401 (Optuna's)
        """The settings of the choice with this label."""
        return dict(zip(self.keys, self.values[self.labels.index(label)], strict=True))

    def extremes(self) -> list[dict[str, Any]]:
        """Settings that are valid only if all of the dimension is."""
        return [dict(zip(self.keys, choice, strict=True)) for choice in self.values]


class Range(msgspec.Struct, frozen=True, tag="range"):
    """A setting between two numbers, both included. ``log``: uniform in the logarithm. ``whole``: integers only."""

    key: str
    low: float | int
    high: float | int
    log: bool = False
    whole: bool = False

    @property
    def name(self) -> str:
        return self.key

    def settings(self, value: Any) -> dict[str, Any]:  # noqa: ANN401 (Optuna's)
        """The setting with this value."""
        return {self.key: value}

    def extremes(self) -> list[dict[str, Any]]:
        """Settings that are valid only if all of the dimension is."""
        return [{self.key: self.low}, {self.key: self.high}]


Dimension = Choices | Range


def text(value: Any) -> str:  # noqa: ANN401 (whatever a setting takes)
    """A setting's exact value on one line."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def read_space(tables: Mapping[str, Any], folder: Path) -> list[Dimension]:
    """Read the dimensions of [space]. Relative paths are relative to ``folder``. Raises InputError."""
    known = dict(settings())
    dimensions = [_dimension(name, given, folder) for name, given in _flat(tables)]
    keys = [key for dimension in dimensions for key in _keys(dimension)]
    for key in keys:
        if key not in known:
            raise InputError(f'[space] "{key}" is not a setting{did_you_mean(key, known)}')
        if key == "train.score":
            raise InputError(f'[space] varies "{key}", by which trials are ranked; set it in the base instead')
        if keys.count(key) > 1:
            raise InputError(f'[space] names "{key}" twice; let one entry vary it')
    return dimensions


def validate(base: RunConfig, dimensions: list[Dimension]) -> None:
    """Raise InputError where settings of the space make ``base`` invalid."""
    count = math.prod(len(dimension.extremes()) for dimension in dimensions)
    alone: Iterable[tuple[dict[str, Any], ...]]
    if count <= _MOST_COMBINATIONS:
        alone = itertools.product(*(dimension.extremes() for dimension in dimensions))
    else:
        alone = ((found,) for dimension in dimensions for found in dimension.extremes())
    for parts in alone:
        changes = {key: value for part in parts for key, value in part.items()}
        try:
            with_settings(base, changes)
        except InputError as error:
            raise InputError(f"[space] holds a value that can't be used: {error}") from None


def grid_size(dimensions: list[Dimension]) -> int:
    """The number of combinations, counted without creating any. Raises InputError for a range."""
    return math.prod(len(choices.values) for choices in _all_choices(dimensions))


def shuffled_grid(dimensions: list[Dimension]) -> Iterator[dict[str, str]]:
    """Yield the combinations of choices, by name and label, in a fixed random order. Raises InputError for a range.

    Each is created when it is taken. Until then it takes 8 bytes.
    """
    labels = {choices.name: choices.labels for choices in _all_choices(dimensions)}
    numbers = array("q", range(grid_size(dimensions)))
    random.Random(0).shuffle(numbers)  # type: ignore[arg-type]  # any mutable sequence works
    for number in numbers:
        combination, rest = {}, number
        for name, own in reversed(labels.items()):
            rest, at = divmod(rest, len(own))
            combination[name] = own[at]
        yield {name: combination[name] for name in labels}


def _all_choices(dimensions: list[Dimension]) -> list[Choices]:
    for dimension in dimensions:
        if isinstance(dimension, Range):
            raise InputError(
                f'[space] "{dimension.name}" is a range, and sampler = "grid" takes only lists of values; '
                "list values, or use random or tpe"
            )
    return [dimension for dimension in dimensions if isinstance(dimension, Choices)]


def _flat(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The entries by dotted key. Without quotes, TOML reads ``optimizer.lr`` as a nested table."""
    for name, given in tables.items():
        if isinstance(given, Mapping) and not given.keys() & {"low", "high"}:
            yield from ((f"{name}.{key}", inner) for key, inner in given.items())
        else:
            yield name, given


def _keys(dimension: Dimension) -> tuple[str, ...]:
    return dimension.keys if isinstance(dimension, Choices) else (dimension.key,)


def _dimension(name: str, given: Any, folder: Path) -> Dimension:  # noqa: ANN401 (whatever TOML holds)
    if isinstance(given, list) and given:
        keys = tuple(key.strip() for key in name.split(","))
        choices = Choices(keys, tuple(_choice(name, keys, value, folder) for value in given))
        if len(set(choices.labels)) < len(choices.labels):
            raise InputError(f'[space] "{name}" lists a value twice')
        return choices
    if isinstance(given, dict) and given.keys() <= {"low", "high", "log"} and {"low", "high"} <= given.keys():
        return _range(name, given)
    raise InputError(f'[space] "{name}": write a list of values, or {{ low = 1e-4, high = 1e-1, log = true }}')


def _choice(name: str, keys: tuple[str, ...], value: Any, folder: Path) -> tuple[Any, ...]:  # noqa: ANN401
    values = [value] if len(keys) == 1 else value
    if not isinstance(values, list) or len(values) != len(keys):
        raise InputError(f'[space] "{name}": each choice is a list of {len(keys)} values, one for each setting')
    return tuple(_resolved(key, one, folder) for key, one in zip(keys, values, strict=True))


def _resolved(key: str, value: Any, folder: Path) -> Any:  # noqa: ANN401
    section, _, name = key.partition(".")
    tables = {section: {name: value}}
    resolve_paths(tables, folder)
    return tables[section][name]


def _range(name: str, given: Mapping[str, Any]) -> Range:
    low, high, log = given["low"], given["high"], given.get("log", False)
    for number in (low, high):
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise InputError(f'[space] "{name}": low and high are numbers, not {number!r:.40}')
    if not isinstance(log, bool):
        raise InputError(f'[space] "{name}": log is true or false')
    if not low < high:
        raise InputError(f'[space] "{name}": low = {low} is not below high = {high}')
    if log and low <= 0:
        raise InputError(f'[space] "{name}": low must be above 0 where log = true')
    field = dict(settings()).get(name)
    if field is not None and field.annotation not in (int, float):
        raise InputError(f'[space] "{name}" is not a number; list its values')
    whole = field is not None and field.annotation is int
    if whole and not (isinstance(low, int) and isinstance(high, int)):
        raise InputError(f'[space] "{name}" is an integer; write low and high without a decimal point')
    return Range(name, low, high, log, whole)
