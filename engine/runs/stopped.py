"""The way in which a run ends on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.runs.commands import Stop


class Stopped(Exception):
    """Someone asked the engine to stop; ``command`` is the stop command that still waits for its answer, if any."""

    def __init__(self, why: str, command: Stop | None = None) -> None:
        super().__init__(why)
        self.command = command
