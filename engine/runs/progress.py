"""Progress reports of long activities."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.runs.stopped import Stopped

# (activity, done, total, unit); a total of 0 is unknown. May raise engine.runs.stopped.Stopped to cancel the activity.
Report = Callable[[str, int, int, str], None]


def quiet(activity: str, done: int, total: int, unit: str) -> None:
    """A Report that discards its input."""


@contextmanager
def watched_download(folder: Path, total: int, report: Report) -> Iterator[None]:
    """Report the growth of files below ``folder`` while a library downloads into it.

    Neither torch nor the hub's client reports a download's progress to its caller. ``total`` is in bytes, 0 if
    unknown. A Stopped that ``report`` raises is raised again once the download ends.
    """
    started_with = _bytes_below(folder)
    done = threading.Event()
    stopped: list[Stopped] = []

    def watch() -> None:
        try:
            while not done.wait(0.5):
                report("download", max(0, _bytes_below(folder) - started_with), total, "B")
        except Stopped as request:
            stopped.append(request)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    if stopped:
        raise stopped[0]


def _bytes_below(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        try:
            size += 0 if path.is_symlink() or path.is_dir() else path.stat().st_size
        except FileNotFoundError:  # renamed in the meantime
            continue
    return size


class Throttled:
    """A Report that forwards at most four reports per second, and always the last of an activity."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last = 0.0

    def __call__(self, activity: str, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if now - self._last >= 0.25 or (total and done >= total):
            self._last = now
            self._report(activity, done, total, unit)
