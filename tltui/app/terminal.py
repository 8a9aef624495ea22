"""The terminal: a frame rate that suits SSH, and a graceful exit when it closes.

Imports no Textual: it reads some variables when it is imported, so ``set_pace`` is called first.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, MutableMapping
from types import FrameType

# Seconds until a process whose event loop hangs on a closed terminal is killed.
PATIENCE = 1.5
# Exit status after the terminal has closed.
HUNG_UP = 128 + signal.SIGHUP


def why_no_app() -> str | None:
    """Why this terminal can't show the app, as a clause of a sentence; None where it can."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "the app needs a terminal for input and output"
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return f"this terminal (TERM={os.environ.get('TERM', '')}) has no cursor positioning, which the app needs"
    return None


def set_pace(environment: MutableMapping[str, str]) -> None:
    """Limit frame rate and animation over SSH, unless the user has set them. Call before importing Textual."""
    if "SSH_CONNECTION" in environment:
        environment.setdefault("TEXTUAL_FPS", "30")
        environment.setdefault("TEXTUAL_ANIMATIONS", "none")


def leave_on_signals(leave: Callable[[int], None]) -> None:
    """Call ``leave(128 + signal)`` in the running loop on SIGHUP and SIGTERM; kill the process if that hangs.

    The default handlers would not restore the terminal. An app that ignores SIGHUP spins on the closed terminal.
    """
    loop = asyncio.get_running_loop()

    def leave_in_time(number: int, _frame: FrameType | None) -> None:
        last_resort = threading.Timer(PATIENCE, os._exit, (128 + number,))
        last_resort.daemon = True
        last_resort.start()
        loop.call_soon_threadsafe(leave, 128 + number)

    for number in (signal.SIGHUP, signal.SIGTERM):
        # not the loop's own handlers: they run in the loop, which may hang
        signal.signal(number, leave_in_time)


def input_is_gone() -> bool:
    """Whether standard input was hung up without a signal: its reader would spin."""
    poll = select.poll()
    poll.register(sys.__stdin__ or 0, 0)
    return any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))
