"""The engine process: ``python -m engine.worker RUN`` trains the run in the folder RUN; with ``--warm`` it is told one.

What it finds out goes to the run's events; what it prints goes to engine.log.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from engine.control import Control
from engine.environment import check_libraries
from engine.errors import InputError, Stopped, first_line
from engine.protocol import CommandApplied, CommandRejected, RunFinished
from engine.rundir import EventLog, Lock, RunFolder
from engine.warm import wait_for_run

NICENESS = 10


def main(path: Path) -> int:
    """Train the run in the folder ``path``; returns the process's exit status: 0, 1, 2 or 130."""
    start = time.monotonic()
    folder = RunFolder(path)
    try:
        _lock = Lock(folder)  # held until this process ends
    except InputError as error:
        print(error, file=sys.stderr)  # noqa: T201 (the log is the other engine's)
        return 2
    log = EventLog(folder)
    control = Control(folder)
    finished = _carry_out(folder, log, control)
    for command in control.leftover():
        log.write(CommandRejected(command=command, reason="the run ended before it could take this command", step=0))
    finished.seconds = round(time.monotonic() - start, 3)
    log.write(finished)
    log.sync()
    return finished.exit_code


def _carry_out(folder: RunFolder, log: EventLog, control: Control) -> RunFinished:
    try:
        check_libraries()
        from engine.run import carry_out

        return carry_out(folder, log, control)
    except InputError as error:
        traceback.print_exc()
        return RunFinished(status="failed", reason=str(error), seconds=0, exit_code=2)
    except Stopped as stopped:
        if stopped.command:
            log.write(CommandApplied(command=stopped.command, step=0))
        return RunFinished(status="stopped", reason=f"{stopped}, before training began", seconds=0, exit_code=130)
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {first_line(error)}"
        return RunFinished(
            status="failed", reason=f"{reason} (the traceback is in {folder.log})", seconds=0, exit_code=1
        )


def give_way() -> None:
    """Let keys and other people's work go before training, which takes all cores.

    Where Linux groups processes by session (autogroups, the default on desktops), niceness counts within a session
    alone; one that is led by the engine has to be made nice as a whole.
    """
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # another system, or another way of grouping
            Path("/proc/self/autogroup").write_text(str(NICENESS))


if __name__ == "__main__":
    give_way()
    wanted = wait_for_run() if sys.argv[1] == "--warm" else Path(sys.argv[1])
    sys.exit(main(wanted) if wanted else 0)
