"""The exception that ends a run on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.runs.commands import Stop


class Stopped(Exception):
    """Ends a run gracefully; ``command`` is the stop command that still needs an answer, if any."""

    def __init__(self, why: str, command: Stop | None = None) -> None:
        super().__init__(why)
        self.command = command
