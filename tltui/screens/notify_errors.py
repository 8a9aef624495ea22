"""What can't be done, told in the app."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from textual.app import App
from textual.widget import Widget

from engine.errors import InputError


@contextmanager
def refusals_told(teller: App[int] | Widget, title: str = "") -> Iterator[None]:
    """Do what is within as far as it goes; what refuses it is said in a notification."""
    try:
        yield
    except InputError as error:
        teller.notify(str(error), title=title, severity="error", markup=False)
