"""The engine process: ``python -m engine.worker RUN`` trains the run whose folder is RUN.

What it finds out goes to the run's events; what it prints goes to engine.log.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path

from engine.control import Control
from engine.environment import check_libraries
from engine.errors import InputError, Stopped, first_line
from engine.protocol import CommandApplied, CommandRejected, RunFinished
from engine.rundir import EventLog, Lock, RunFolder

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
NICENESS = 10  # so that keys do not lag while training takes all cores


def main(path: Path) -> int:
    """Train the run in the folder ``path``; returns the process's exit status: 0, 1, 2 or 130."""
    start = time.monotonic()
    folder = RunFolder(path)
    try:
        _lock = Lock(folder)  # held until this process ends
    except InputError as error:
        print(error, file=sys.stderr)  # noqa: T201 (the log is the other engine's)
        return 2
    os.nice(NICENESS)
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


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
