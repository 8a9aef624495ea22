"""The worker process: ``python -m engine.process.worker RUN`` trains the run in the folder RUN, or resumes it.

- ``--warm`` instead of RUN: a prewarmed worker, which waits for a run on standard input.
- ``--forks`` instead of RUN: a fork server, which forks a worker for each run on standard input.

Results go to the run's event log, and output to engine.log. With several processes the worker starts torchrun, which
runs this module in each of them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError, RankLost, first_line
from engine.process import torchrun
from engine.process.fork_server import serve
from engine.process.prewarmed import wait_for_run
from engine.runs.commands import Set
from engine.runs.event_log import EventLog, EventTail
from engine.runs.events import CommandApplied, CommandRejected, Event, RunFinished
from engine.runs.folder import RunFolder
from engine.runs.lock import Lock
from engine.runs.replay import ReplayedLog
from engine.runs.stopped import Stopped
from engine.system import rank_env
from engine.system.devices import check_libraries
from engine.training.control import Control

if TYPE_CHECKING:
    from engine.training.distributed import Ranks

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
NICENESS = 10  # keeps typing responsive while training uses all cores
_CLOSE_TIMEOUT = 5.0  # seconds to wait for space on a full disk before the last events are dropped


def main(path: Path) -> int:
    """Train the run in the folder ``path``. Returns the exit status: 0, 1, 2 or 130."""
    folder = RunFolder(path)
    if rank_env.is_rank():
        from engine.process import rank

        return rank.main(lambda ranks: run_worker(folder, ranks))
    processes = _processes(folder)
    return torchrun.launch(folder, processes) if processes > 1 else run_worker(folder)


def run_worker(folder: RunFolder, ranks: Ranks | None = None, show: Callable[[Event], None] | None = None) -> int:
    """Train the run in ``folder`` in this process, the only one or the first of ``ranks``. Returns the exit status.

    The status is 0 after any graceful end that torchrun would answer with a restart in vain. ``show`` receives each
    event.
    """
    start = time.monotonic()
    try:
        folder.refuse_links()
        lock = Lock(folder)
        replayed = ReplayedLog.of(EventTail(folder).poll())
        control = Control(folder, replayed.answered)
        if replayed.completed and not control.waits_for("train.epochs"):
            raise InputError(f"run {folder.id} is completed; there is nothing to resume")
        log = EventLog(folder, replayed.contains)
        log.listeners.extend([show] if show else [])
    except (InputError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 (another worker owns the log)
        return 2
    ending = threading.Lock()

    def leave(signal_name: str) -> None:
        if not ending.acquire(blocking=False):
            return
        threading.Timer(1.0, os._exit, (130,)).start()  # even if the disk does not respond
        reason = f"signal {signal_name}; steps after the last checkpoint are computed again"
        log.write(
            RunFinished(status="stopped", reason=reason, seconds=round(time.monotonic() - start, 3), exit_code=130)
        )
        os._exit(130)

    control.exit_after_grace_period(leave)
    finished, may_recover = _execute(folder, log, control, replayed, ranks)
    ending.acquire()
    _reject_unanswered(control, log, finished)
    finished.seconds = round(time.monotonic() - start, 3)
    log.write(finished)
    try:
        log.close(_CLOSE_TIMEOUT)
    except OSError as error:
        print(f"the last events could not be written: {error}", file=sys.stderr)  # noqa: T201
        return 1
    lock.release()
    return 0 if rank_env.may_restart() and not may_recover else finished.exit_code


def _reject_unanswered(control: Control, log: EventLog, finished: RunFinished) -> None:
    for command in control.take_unanswered():
        if finished.status == "stopped" and isinstance(command, Set):
            continue  # the worker that resumes the run applies it
        log.write(CommandRejected(command=command, reason="the run ended before it could apply this command", step=0))


def _processes(folder: RunFolder) -> int:
    try:
        return folder.load_config().train.processes
    except InputError:  # the run's events report it
        return 1


def _execute(
    folder: RunFolder, log: EventLog, control: Control, replayed: ReplayedLog, ranks: Ranks | None
) -> tuple[RunFinished, bool]:
    """How the run ended, and whether a restart with the same settings may end differently."""
    try:
        check_libraries()
        from engine.process.run import execute_run
        from engine.training.distributed import SINGLE_PROCESS

        return execute_run(folder, log, control, replayed, ranks or SINGLE_PROCESS), False
    except InputError as error:
        traceback.print_exc()
        return RunFinished(status="failed", reason=str(error), seconds=0, exit_code=2), False
    except Stopped as stopped:
        if stopped.command:
            log.write(CommandApplied(command=stopped.command, step=0))
        reason = f"{stopped}, before training began"
        return RunFinished(status="stopped", reason=reason, seconds=0, exit_code=130), False
    except RankLost as lost:
        traceback.print_exc()
        return RunFinished(status="failed", reason=str(lost), seconds=0, exit_code=1), True
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {first_line(error)} (the traceback is in {folder.log})"
        return RunFinished(status="failed", reason=reason, seconds=0, exit_code=1), True


def lower_priority() -> None:
    """Lower the priority of this process, so that typing and other users' work stay responsive."""
    os.nice(NICENESS)
    lower_session_priority()


def lower_session_priority() -> None:
    """Lower the priority of the session that this process leads, if it leads one.

    With autogroups, the default on Linux desktops, niceness acts only within a session.
    """
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # no Linux, or no autogroups
            Path("/proc/self/autogroup").write_text(str(NICENESS))


def resolve_run(argument: str) -> Path | None:
    """The folder of the run to train, from the command line or standard input; None if there is none."""
    if argument == "--warm":
        return wait_for_run()
    if argument == "--forks":
        path = serve()
        lower_session_priority()
        return path
    return Path(argument)


if __name__ == "__main__":
    if not rank_env.is_rank():  # ranks inherit the priority
        lower_priority()
    run_path = resolve_run(sys.argv[1])
    status = main(run_path) if run_path else 0
    if status == 130:  # PyTorch takes seconds to tear down, and a scheduler may kill the process before
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
