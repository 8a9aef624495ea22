"""The keys of every screen."""

from __future__ import annotations

from collections.abc import Iterator

from textual.keys import key_to_character

from tltui.app.action_index import known_actions
from tltui.app.app import TltuiApp
from tltui.keys.keymap import SCOPES
from tltui.manual_reference.words import prose, table


def keys() -> str:
    """The default keys of every action, by the place where they work."""
    return "\n\n".join(_scopes())


def _scopes() -> Iterator[str]:
    for scope, (heading, _) in SCOPES.items():
        bound = [action for action in known_actions(TltuiApp).values() if action.scope == scope]
        rows = [(_keys(action.keys), prose(action.description), f"`{action.id}`") for action in bound]
        if rows:
            yield f"### {heading}"
            yield table(("key", "does", "id"), *rows)


def _keys(names: tuple[str, ...]) -> str:
    return " ".join(f"`{_key(name)}`" for name in names)


def _key(name: str) -> str:
    """``question_mark`` as ?, ``escape`` as it is."""
    character = key_to_character(name) or name
    return character if character.isprintable() and character != " " else name
