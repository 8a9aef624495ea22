"""How long something takes, from how it went so far."""

from __future__ import annotations

import time


class ProgressRate:
    """Watches one activity after the other."""

    def __init__(self) -> None:
        self._activity = ""
        self._began = 0.0
        self._first = 0

    def left(self, activity: str, done: int, total: int) -> float | None:
        """Seconds, from the first that was heard of the activity; None while nothing tells."""
        now = time.monotonic()
        if activity != self._activity or done < self._first:
            self._activity, self._began, self._first = activity, now, done
        since = done - self._first
        return (now - self._began) / since * (total - done) if since and done < total else None
