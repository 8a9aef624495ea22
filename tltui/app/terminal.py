"""What the app owes the terminal: a pace that the line can bear, and an orderly end when the terminal goes.

Imports no Textual: some of its constants are read when it is imported, so ``set_pace`` has to come first.
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

# Seconds after which a process whose event loop hangs on a dead terminal is ended the hard way.
PATIENCE = 1.5
# The exit status of an app whose terminal is gone: there is nobody left to tell anything.
HUNG_UP = 128 + signal.SIGHUP


def why_no_app() -> str | None:
    """Why the app can't be shown here, as a clause for a sentence; None where it can."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "the app needs a terminal for input and output"
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return f"this terminal (TERM={os.environ.get('TERM', '')}) can't place text freely, which the app needs"
    return None


def set_pace(environment: MutableMapping[str, str]) -> None:
    """Fewer frames and no animation over SSH; what the user has set himself stays. Call before importing Textual."""
    if "SSH_CONNECTION" in environment:
        environment.setdefault("TEXTUAL_FPS", "30")
        environment.setdefault("TEXTUAL_ANIMATIONS", "none")


def leave_on_signals(leave: Callable[[int], None]) -> None:
    """On SIGHUP and SIGTERM call ``leave(128 + signal)`` in the running loop; end the process if that hangs.

    By default both would end the app without restoring the terminal, and an app that ignores SIGHUP spins on the
    terminal that is gone.
    """
    loop = asyncio.get_running_loop()

    def leave_in_time(number: int, _frame: FrameType | None) -> None:
        last_resort = threading.Timer(PATIENCE, os._exit, (128 + number,))
        last_resort.daemon = True
        last_resort.start()
        loop.call_soon_threadsafe(leave, 128 + number)

    for number in (signal.SIGHUP, signal.SIGTERM):
        # Not the loop's own handlers: those run in the loop, which may be what hangs.
        signal.signal(number, leave_in_time)


def input_is_gone() -> bool:
    """Whether standard input was hung up: its reader would from then on spin without a signal to tell."""
    poll = select.poll()
    poll.register(sys.__stdin__ or 0, 0)
    return any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))
