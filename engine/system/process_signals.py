"""Signals that stop a run, and how child processes outlive those and not their parent. Imports no torch.

Slurm, systemd and terminals signal every process of a job at once. The engine alone answers; a data-loader worker that
died of such a signal would end the run as failed, without its checkpoint.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOOK = 1.0  # seconds between looks at whether the parent is still there


def stopping_signals() -> list[signal.Signals]:
    """Those of ENDING that stop a run here: not SIGHUP where it was ignored from the start, as ``nohup`` does."""
    return [number for number in ENDING if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def blocked() -> Iterator[None]:
    """Hold ENDING back in this thread. A process that is started meanwhile never sees them unless it unblocks them.

    Blocked rather than ignored, so that there is no instant between the fork and the child's own code.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_with_parent(parent: int, leave: Callable[[], None]) -> None:
    """Have ``leave`` called in a thread once the process ``parent``, which started this one, is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        leave()

    threading.Thread(target=watch, daemon=True).start()
