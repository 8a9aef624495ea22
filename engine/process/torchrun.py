"""Starting torchrun, which starts the processes that train one run together. Imports no torch before that."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

import psutil

from engine.errors import InputError
from engine.runs.event_log import EventLog, EventTail
from engine.runs.events import RunFinished
from engine.runs.folder import RunFolder
from engine.runs.lock import Lock
from engine.system.cpu import usable_cores
from engine.system.interpreter import environment
from engine.system.process_signals import ENDING, stopping_signals

_LAST_WORDS = 5.0  # seconds to wait for room on a full disk
_PATIENCE = 8.5  # seconds; a process leaves by itself 8 s after a signal, and whoever sends it often kills after ten
_LOOK = 0.5  # seconds in which a process that was killed is gone


def launch(folder: RunFolder, processes: int) -> int:
    """Have torchrun train the run in ``folder`` with so many processes on this machine; returns the exit status.

    The first of them writes the run's events. Where it could not write the last, since one of the processes died, that
    is done here. Signals that stop a run are passed on to all of them, which then stop gracefully.
    """
    # Blocked in all threads, or torchrun would take them for the end: a second one would have it leave its processes.
    # The processes begin with them blocked until they can answer.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    told = _last_seq(folder)
    ending = threading.Lock()

    def leave(number: signal.Signals) -> None:
        if ending.acquire(blocking=False):
            status = _exit_status(folder, told, f"signal {number.name}")
            sys.stderr.flush()
            os._exit(status)  # tearing PyTorch down takes seconds, which whoever sent the signal may not grant

    signals = _PassedOn(lambda: _last_seq(folder) > told, leave)
    from torch.distributed import run

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))  # torchrun's own choice is 1
    os.environ.update(environment())  # the interpreters that torchrun starts are its own affair
    arguments = ["--standalone", "--local-addr", "localhost", "--nproc-per-node", str(processes)]
    try:
        run.main([*arguments, "--module", "engine.process.worker", str(folder.path)])
    except Exception:  # torchrun's own say which process ended how
        traceback.print_exc()
    if signals.seen:
        leave(signals.seen)
    ending.acquire()  # the other thread may be leaving
    return _exit_status(folder, told, "")


class _PassedOn:
    """Passes the first signal that stops a run on to the processes of the run.

    Those that are still there when patience ends are killed, and ``leave`` ends this process; before the run has
    ``begun`` there is nothing to wait for.
    """

    def __init__(self, begun: Callable[[], bool], leave: Callable[[signal.Signals], None]) -> None:
        self.seen: signal.Signals | None = None
        self._begun = begun
        self._leave = leave
        threading.Thread(target=self._pass_on, args=(stopping_signals(),), daemon=True).start()

    def _pass_on(self, wanted: list[signal.Signals]) -> None:
        number = signal.Signals(signal.sigwait(wanted))
        self.seen = number
        ranks = psutil.Process().children()
        if self._begun():
            for rank in ranks:
                with suppress(psutil.Error):
                    rank.send_signal(number)
            time.sleep(_PATIENCE)  # where they leave in time this process is gone by then
        ranks = psutil.Process().children()
        for rank in ranks:
            with suppress(psutil.Error):
                rank.kill()
        psutil.wait_procs(ranks, _LOOK)
        self._leave(number)


def _exit_status(folder: RunFolder, told: int, stopped_by: str) -> int:
    """The exit status of a run that had ``told`` events before; emits how it ended where no rank could."""
    finished = None
    for event in EventTail(folder, steps=False).poll():
        if event.seq > told:
            finished = event if isinstance(event, RunFinished) else None
    if finished:
        return finished.exit_code
    status, exit_code = ("stopped", 130) if stopped_by else ("failed", 1)
    why = stopped_by or f"a process of the run died; {folder.log} may tell why"
    reason = f"{why}; steps after the last checkpoint are computed again"
    try:
        lock = Lock(folder)
        log = EventLog(folder)
        log.write(RunFinished(status=status, reason=reason, seconds=0, exit_code=exit_code))
        log.close(_LAST_WORDS)
        lock.release()
    except (InputError, OSError):  # another engine has the run: the reason for which this one was refused
        traceback.print_exc()
        return 2
    return exit_code


def _last_seq(folder: RunFolder) -> int:
    return max((event.seq for event in EventTail(folder, steps=False).poll()), default=0)
