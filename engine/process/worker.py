"""The engine process: ``python -m engine.process.worker RUN`` trains the run in the folder RUN, or resumes it; with
``--warm`` it waits until it is told one, with ``--forks`` it makes an engine for each that it is told.

What it finds out goes to the run's events; what it prints goes to engine.log. Where several processes train the run it
starts them; each of them is this module once more.
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
NICENESS = 10  # so that keys do not lag while training takes all cores
_LAST_WORDS = 5.0  # seconds to wait for room on a full disk before the last events are given up


def main(path: Path) -> int:
    """Train the run in the folder ``path``; returns the process's exit status: 0, 1, 2 or 130."""
    folder = RunFolder(path)
    if rank_env.is_rank():
        from engine.process import rank

        return rank.main(lambda ranks: train(folder, ranks))
    processes = _processes(folder)
    return torchrun.launch(folder, processes) if processes > 1 else train(folder)


def train(folder: RunFolder, ranks: Ranks | None = None, show: Callable[[Event], None] | None = None) -> int:
    """Train the run in ``folder`` in this process, the only one or the first of ``ranks``; returns the exit status.

    It is 0, too, for a run that ended in order otherwise, where torchrun would only start the processes anew. ``show``
    is given each event.
    """
    start = time.monotonic()
    try:
        folder.refuse_links()
        lock = Lock(folder)
        past = ReplayedLog.of(EventTail(folder).poll())
        if past.completed:
            raise InputError(f"run {folder.id} is completed; there is nothing to go on with")
        log = EventLog(folder, past.contains)
        log.listeners.extend([show] if show else [])
    except (InputError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 (the log is the other engine's)
        return 2
    control = Control(folder, past.answered)
    ending = threading.Lock()

    def leave(signal_name: str) -> None:
        if not ending.acquire(blocking=False):
            return
        threading.Timer(1.0, os._exit, (130,)).start()  # even where the disk does not answer
        reason = f"signal {signal_name}; the last checkpoint is older, steps since are computed again"
        log.write(
            RunFinished(status="stopped", reason=reason, seconds=round(time.monotonic() - start, 3), exit_code=130)
        )
        os._exit(130)

    control.see_to_it(leave)
    finished, again = _carry_out(folder, log, control, past, ranks)
    ending.acquire()
    for command in control.leftover():
        if finished.status == "stopped" and isinstance(command, Set):
            continue  # the engine that goes on with the run will take it
        log.write(CommandRejected(command=command, reason="the run ended before it could take this command", step=0))
    finished.seconds = round(time.monotonic() - start, 3)
    log.write(finished)
    try:
        log.close(_LAST_WORDS)
    except OSError as error:
        print(f"the last events could not be written: {error}", file=sys.stderr)  # noqa: T201
        return 1
    lock.release()
    return 0 if rank_env.may_restart() and not again else finished.exit_code


def _processes(folder: RunFolder) -> int:
    try:
        return folder.load_config().train.processes
    except InputError:  # which the run's events will tell
        return 1


def _carry_out(
    folder: RunFolder, log: EventLog, control: Control, past: ReplayedLog, ranks: Ranks | None
) -> tuple[RunFinished, bool]:
    """How the run ended, and whether it may end otherwise where nothing changes and it is tried again."""
    try:
        check_libraries()
        from engine.process.run import carry_out
        from engine.training.distributed import ALONE

        return carry_out(folder, log, control, past, ranks or ALONE), False
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


def give_way() -> None:
    """Let keys and other people's work go before training, which takes all cores."""
    os.nice(NICENESS)
    give_way_as_session()


def give_way_as_session() -> None:
    """Where Linux groups processes by session (autogroups, the default on desktops), niceness counts within a session
    alone; one that is led by the engine has to be made nice as a whole."""
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # another system, or another way of grouping
            Path("/proc/self/autogroup").write_text(str(NICENESS))


def run_wanted(argument: str) -> Path | None:
    """The folder of the run that this process is to train, None where none is wanted any more."""
    if argument == "--warm":
        return wait_for_run()
    if argument == "--forks":
        path = serve()
        give_way_as_session()
        return path
    return Path(argument)


if __name__ == "__main__":
    if not rank_env.is_rank():  # those inherit it
        give_way()
    wanted = run_wanted(sys.argv[1])
    status = main(wanted) if wanted else 0
    if status == 130:  # tearing PyTorch down takes seconds, which whoever sent a signal may not grant
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
