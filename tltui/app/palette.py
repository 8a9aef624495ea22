"""The command palette: the actions of the current screen, by description."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.dom import DOMNode

from tltui.keys.keymap import ActionKeys, declared_actions

# Scopes of keys that only move the cursor.
_NOT_COMMANDS = frozenset({"choice", "path", "dialog", "folder", "network"})


class Actions(Provider):
    """Actions with an id, of the app, the screen and its widgets."""

    async def discover(self) -> Hits:
        for title, help_text, run in self._commands():
            yield DiscoveryHit(title, run, help=help_text)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for title, help_text, run in self._commands():
            if (score := matcher.match(title)) > 0:
                yield Hit(score, matcher.highlight(title), run, help=help_text)

    def _commands(self) -> Iterator[tuple[str, str, partial[object]]]:
        seen: set[str] = set()
        for node, bound in bound_nodes([self.app, self.screen, *self.screen.query("*")]):
            if bound.id not in seen and bound.scope not in _NOT_COMMANDS and _is_possible(node, bound.action):
                seen.add(bound.id)
                run = partial(node.run_action, bound.action)  # type: ignore[attr-defined]
                title = bound.description[:1].upper() + bound.description[1:]
                yield title, bound.id, run


def bound_nodes(nodes: list[DOMNode]) -> Iterator[tuple[DOMNode, ActionKeys]]:
    """The actions of nodes, each with its node."""
    for node in nodes:
        for bound in declared_actions(of for of in type(node).__mro__ if of.__module__.startswith("tltui")).values():
            yield node, bound


def _is_possible(node: DOMNode, action: str) -> bool:
    name, _, _ = action.partition("(")
    return node.check_action(name, ()) is True
