"""Index of all actions with an id, for the keymap check and the manual."""

from __future__ import annotations

import functools

from textual.app import App

from tltui.keys.keymap import ActionKeys, declared_actions


@functools.cache
def known_actions(app_class: type[App[int]]) -> dict[str, ActionKeys]:
    """Every action of ``app_class``, of all screens and of all widgets, by id."""
    from tltui.screens import compare, folds, manual, sweep, sweep_form, workbench  # noqa: F401 (defines their widgets)

    return declared_actions([app_class, *_widget_classes()])


def _widget_classes() -> list[type]:
    """All widget classes of tltui, sorted: independent of the order of imports."""
    from textual.widget import Widget

    classes: list[type] = [Widget]
    for cls in classes:
        classes += [sub for sub in cls.__subclasses__() if sub not in classes]
    ours = [cls for cls in classes if cls.__module__.startswith("tltui.")]
    return sorted(ours, key=lambda cls: (cls.__module__, cls.__qualname__))
