"""Shows invalid input as notifications."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from textual.app import App
from textual.widget import Widget

from engine.errors import InputError


@contextmanager
def notify_errors(source: App[int] | Widget, title: str = "") -> Iterator[None]:
    """Catch an InputError and show its sentence as a notification of ``source``."""
    try:
        yield
    except InputError as error:
        source.notify(str(error), title=title, severity="error", markup=False)
