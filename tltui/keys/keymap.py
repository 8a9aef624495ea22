"""The user's keymap: read and validated as a whole, and the keys that apply."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.binding import Binding
from textual.keys import KEY_ALIASES, Keys

# The prefix of a binding's id, its heading in the help screen, and the enclosing scope.
SCOPES: dict[str, tuple[str, str]] = {
    "app": ("Everywhere", ""),
    "home": ("Your runs", "app"),
    "workbench": ("This run", "app"),
    "layers": ("Layers", "workbench"),
    "form": ("Settings", "workbench"),
    "choice": ("A setting with choices", "form"),
    "path": ("A path", "form"),
    "curves": ("Curves", "workbench"),
    "evaluate": ("Evaluation", "workbench"),
    "confusion": ("Confusion matrix", "evaluate"),
    "matrix": ("Moving in the matrix", "confusion"),
    "pairs": ("Most frequent confusions", "confusion"),
    "dialog": ("This dialog", "app"),
    "compare": ("Comparing runs", "app"),
    "folds": ("A cross-validation", "app"),
    "sweep": ("A sweep", "app"),
    "sweep_form": ("Filling in a sweep", "app"),
    "images": ("Images", "app"),
    "experiment": ("An experiment", "app"),
    "help": ("This list", "app"),
    "manual": ("The manual", "app"),
    "manual_search": ("Searching the manual", "manual"),
    "folder": ("Choosing a folder", "app"),
    "network": ("Choosing a network", "app"),
}

_MODIFIERS = ("ctrl", "shift", "alt", "super", "hyper", "meta")
_KNOWN_KEYS = frozenset(key.value for key in Keys) | frozenset(KEY_ALIASES)


@dataclass(frozen=True)
class ActionKeys:
    """An action and its keys by Textual's names ("ctrl+p", "question_mark")."""

    id: str
    action: str
    description: str
    keys: tuple[str, ...]

    @property
    def scope(self) -> str:
        return self.id.split(".")[0]


def declared_actions(classes: Iterable[type]) -> dict[str, ActionKeys]:
    """The actions that classes declare in ``BINDINGS``, by id, with their default keys."""
    found: dict[str, ActionKeys] = {}
    for cls in classes:
        for binding in Binding.make_bindings(vars(cls).get("BINDINGS", [])):
            if binding.id:
                before = found[binding.id].keys if binding.id in found else ()
                keys = tuple(dict.fromkeys((*before, binding.key)))
                found[binding.id] = ActionKeys(binding.id, binding.action, binding.description, keys)
    return found


def load_keymap(path: Path, known_actions: Callable[[], Mapping[str, ActionKeys]]) -> tuple[dict[str, str], list[str]]:
    """The keymap in a TOML file of lines like ``"workbench.run" = "r,f9"``, and its errors.

    Invalid lines are skipped: their actions keep the default keys. Textual itself accepts any line and may silently
    drop another action's key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return {}, [f"{path} can't be read: {error}"]
    known = known_actions()
    problems: list[str] = []
    chosen: dict[str, tuple[str, ...]] = {}
    for id, value in content.items():
        if problem := _problem(id, value, known):
            problems.append(problem)
        else:
            chosen[id] = tuple(map(_normal, value.split(",")))
    while clash := _clash(chosen, known):
        id, problem = clash
        problems.append(problem)
        del chosen[id]
    return {id: ",".join(keys) for id, keys in chosen.items()}, problems


def effective_keys(known: Mapping[str, ActionKeys], keymap: Mapping[str, str]) -> list[ActionKeys]:
    """All actions with the keys that apply."""
    return [
        ActionKeys(bound.id, bound.action, bound.description, tuple(keymap[bound.id].split(",")))
        if bound.id in keymap
        else bound
        for bound in known.values()
    ]


def _problem(id: str, value: Any, known: Mapping[str, ActionKeys]) -> str:  # noqa: ANN401
    if isinstance(value, dict):
        line = f"{id}.{next(iter(value), 'run')}"
        return f'"{id}" is a table; write lines like "{line}" = "r", with both names in one pair of quotes'
    if id not in known:
        return f'"{id}" is no action; the help screen (?) lists them'
    if not isinstance(value, str) or not value:
        return f'"{id}" needs keys in quotes, like "r" or "r,f9"'
    wrong = [key for key in value.split(",") if not _is_key(key.strip())]
    return f'"{id}": "{wrong[0]}" is no key; write "x", "f9", "ctrl+t", "space" …' if wrong else ""


def _clash(chosen: Mapping[str, tuple[str, ...]], known: Mapping[str, ActionKeys]) -> tuple[str, str] | None:
    """The first entry whose key belongs to another action in the same or an enclosing scope, and the error."""
    keys = {id: chosen.get(id, bound.keys) for id, bound in known.items()}
    for id, mine in chosen.items():
        for other, theirs in keys.items():
            if other != id and _meet(id, other) and (shared := set(mine) & set(theirs)):
                return id, f'"{id}": the key {min(shared)} belongs to "{other}"; choose another key (the default stays)'
    return None


def _meet(one: str, other: str) -> bool:
    """Whether two actions can be reachable at the same time."""
    first, second = one.split(".", maxsplit=1)[0], other.split(".", maxsplit=1)[0]
    return first in _around(second) or second in _around(first)


def _around(scope: str) -> list[str]:
    scopes = [scope]
    while outer := SCOPES.get(scopes[-1], ("", ""))[1]:
        scopes.append(outer)
    return scopes


def _is_key(key: str) -> bool:
    *modifiers, name = key.split("+") if key != "+" else ["+"]
    return all(m in _MODIFIERS for m in modifiers) and (len(name) == 1 or name in _KNOWN_KEYS or name in _CHARACTERS)


def _normal(key: str) -> str:
    """A key's name as Textual reports it: ``?`` is question_mark."""
    key = key.strip()
    (binding,) = Binding.make_bindings([Binding(key, "normalize")])
    return binding.key


_COMMA = "comma"  # by name alone: the character separates keys
_CHARACTERS = frozenset({_COMMA, *(_normal(chr(code)) for code in range(33, 127) if chr(code) != ",")})
