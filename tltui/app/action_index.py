"""Where all actions of the app are declared, for those who check or list them."""

from __future__ import annotations

import functools

from tltui.keys.keymap import ActionKeys, declared_actions


@functools.cache
def known_actions() -> dict[str, ActionKeys]:
    """Every action with an id, by id."""
    # the app imports this module, and the screens over its first only when they are opened
    from tltui.app.app import TltuiApp
    from tltui.screens import compare, manual, sweep, sweep_form, workbench  # noqa: F401 (their widgets are asked for below)

    found: dict[str, ActionKeys] = {}
    pending: list[type] = [TltuiApp, *_widgets()]
    found.update(declared_actions(pending))
    return found


def _widgets() -> list[type]:
    from textual.widget import Widget

    classes: list[type] = [Widget]
    for cls in classes:
        classes += [sub for sub in cls.__subclasses__() if sub not in classes]
    ours = [cls for cls in classes if cls.__module__.startswith("tltui.")]
    return sorted(ours, key=lambda cls: (cls.__module__, cls.__qualname__))  # whatever was imported first
