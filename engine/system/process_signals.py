"""Signals that stop a run; child processes block them and end with their parent. Imports no torch.

Slurm, systemd and terminals signal every process of a job. Only the worker handles such a signal. A data-loader worker
that died of one would end the run as failed, without a checkpoint.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_INTERVAL = 1.0  # seconds between checks for the parent


def stopping_signals() -> list[signal.Signals]:
    """The signals of ENDING that stop a run: without SIGHUP if it was ignored from the start, as by ``nohup``."""
    return [number for number in ENDING if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def blocked() -> Iterator[None]:
    """Block ENDING in this thread. A process that it starts meanwhile inherits the block.

    Blocking, unlike ignoring in the child, leaves no gap between the fork and the child's own code.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_with_parent(parent: int, leave: Callable[[], None]) -> None:
    """Call ``leave`` in a thread once this process's parent, with the id ``parent``, has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_INTERVAL)
        leave()

    threading.Thread(target=watch, daemon=True).start()
