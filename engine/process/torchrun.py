"""Starting torchrun, which starts the processes that train one run together. Imports no torch before that."""

from __future__ import annotations

import os
import signal
import traceback
from types import FrameType

from engine.errors import InputError
from engine.runs.events import RunFinished
from engine.runs.folder import EventLog, EventTail, RunFolder
from engine.runs.lock import Lock
from engine.system.devices import usable_cores
from engine.training.control import ENDING

_LAST_WORDS = 5.0  # seconds to wait for room on a full disk


def launch(folder: RunFolder, processes: int) -> int:
    """Have torchrun train the run in ``folder`` with so many processes on this machine; returns the exit status.

    The first of them writes the run's events. Where it could not write the last, since one of the processes died, that
    is done here. SIGTERM and SIGINT are passed on to all, and end the run in order.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.launcher.api import LaunchConfig

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SignalException(f"signal {number}", signal.Signals(number))

    told = _last_seq(folder)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))  # torchrun's own choice is 1
    arguments = ["--standalone", "--local-addr", "localhost", "--nproc-per-node", str(processes)]
    if hasattr(LaunchConfig, "signals_to_handle"):  # not SIGHUP: a terminal that closes is none of its business
        arguments += ["--signals-to-handle", ",".join(number.name for number in ENDING)]
    ended = ""
    try:
        for number in ENDING:
            signal.signal(number, leave)  # until torchrun has handlers of its own
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        run.main([*arguments, "--module", "engine.process.worker", str(folder.path)])
    except SignalException as stopped:
        ended = f"signal {signal.Signals(stopped.sigval).name}"
    except Exception:  # torchrun's own say which process ended how
        traceback.print_exc()
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    return _exit_status(folder, told, ended)


def _exit_status(folder: RunFolder, told: int, stopped_by: str) -> int:
    """That of the run, whose log told of ``told`` events before; says how it ended where nobody could."""
    finished = None
    for event in EventTail(folder, steps=False).poll():
        if event.seq > told:
            finished = event if isinstance(event, RunFinished) else None
    if finished:
        return finished.exit_code
    status, exit_code = ("stopped", 130) if stopped_by else ("failed", 1)
    why = stopped_by or f"a process of the run died; {folder.log} may tell why"
    reason = f"{why}; the last checkpoint is older, steps since are computed again"
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
