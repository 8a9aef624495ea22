"""The events and commands that cross the process boundary."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from engine.runs.commands import AnyCommand, Command
from engine.runs.events import AnyEvent, Event
from tltui.manual_reference.words import prose, table

_IN_ALL = {"seq", "time", "id"}
_WORDS: dict[object, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    types.NoneType: "null",
    Any: "any value",
}
Types = tuple[type[msgspec.Struct], ...]


def events() -> str:
    """Every event with its fields, then the objects in them."""
    kinds: Types = get_args(AnyEvent)
    nested = [kind for kind in _nested(kinds) if not issubclass(kind, (Event, Command))]
    return "\n\n".join([*map(_entry, kinds), *map(_entry, nested)])


def engine_commands() -> str:
    """Every command to the worker process."""
    return "\n\n".join(map(_entry, get_args(AnyCommand)))


def _entry(kind: type[msgspec.Struct]) -> str:
    name = _name(kind)
    parts = [f"### `{name}`", prose(kind.__doc__)]
    hints = get_type_hints(kind, include_extras=True)
    rows = [(f"`{field.name}`", _words(hints[field.name])) for field in msgspec.structs.fields(kind)]
    rows = [row for row in rows if row[0].strip("`") not in _IN_ALL]
    return "\n\n".join([*parts, table(("field", "JSON type"), *rows)] if rows else parts)


def _name(kind: type[msgspec.Struct]) -> str:
    """The type as the log has it, or the name of an object inside."""
    tag = kind.__struct_config__.tag
    return tag if isinstance(tag, str) else kind.__name__


def _words(hint: Any) -> str:  # noqa: ANN401 (a type, in whatever form)
    """A type in the words of JSON."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is None:
        return f"`{_name(hint)}`" if isinstance(hint, type) and issubclass(hint, msgspec.Struct) else _WORDS[hint]
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inside)
    if origin in (Union, types.UnionType):
        kinds = ("a command" if isinstance(one, type) and issubclass(one, Command) else _words(one) for one in inside)
        return " or ".join(dict.fromkeys(kinds))
    containers = {list: "array of ", tuple: "array of ", dict: "object of "}
    return containers.get(origin, "") + _words(inside[origin is dict])


def _nested(kinds: Types) -> Iterator[type[msgspec.Struct]]:
    """The structs in the fields of others, each once."""
    seen: list[type[msgspec.Struct]] = []
    waiting: list[Any] = [hint for kind in kinds for hint in get_type_hints(kind, include_extras=True).values()]
    while waiting:
        hint = waiting.pop(0)
        waiting[:0] = get_args(hint)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint not in (*kinds, *seen):
            seen.append(hint)
            waiting[:0] = get_type_hints(hint, include_extras=True).values()
            yield hint
