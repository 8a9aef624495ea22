"""Many workers from one process: it imports what training needs once and forks a worker for each run.

``python -m engine.process.worker --forks`` takes runs on standard input, as ``prewarmed.as_line`` writes them. It
reports on standard output what becomes of them, a ``Report`` a line. It never computes anything itself, because
threads of the libraries that compute do not survive a fork. It leaves where its input ends; the workers, in sessions
of their own, continue.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.process.prewarmed import become_engine_of, import_everything
from engine.system.process_signals import ENDING

_LOOK = 0.02  # seconds between looks at the engines
_CHUNK = 1 << 16
_MEMORY_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of what the system tells of a process that ended


class Report(msgspec.Struct):
    """``run`` is a run's folder, "" where all is imported; an engine that ended had ``memory`` bytes at its peak.

    ``status`` is the engine's exit status, negative for a signal.
    """

    run: str = ""
    status: int = 0
    memory: int = 0


def serve() -> Path:
    """Fork engines until the input ends, and this process with it. Returns the run's folder in each engine."""
    # It goes with its input, and engines begin with signals blocked until they can answer.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    told = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no report
    import_everything()
    _tell(told, Report())
    engines: dict[int, str] = {}
    rest = b""
    while True:
        ready, _, _ = select.select([0], [], [], _LOOK if engines else None)
        for report in _ended(engines):
            _tell(told, report)
        if not ready:
            continue
        chunk = os.read(0, _CHUNK)
        if not chunk:
            os._exit(0)  # there is nothing to tidy up, and whoever waits need not wait for the libraries to go
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            run = json.loads(line)
            process = _fork(run)
            if process == 0:
                os.close(told)
                return Path(run)
            if process > 0:
                engines[process] = run
            else:
                _tell(told, Report(run, status=-1))


def _fork(run: str) -> int:
    """0 in the engine of a run, its process id here; negative where there can't be another process."""
    try:
        process = os.fork()
    except OSError:
        traceback.print_exc()
        return -1
    if process == 0:
        os.setsid()
        become_engine_of(Path(run))
    return process


def _ended(engines: dict[int, str]) -> list[Report]:
    """The engines that ended since the last look."""
    reports = []
    for process in list(engines):
        done, status, usage = os.wait4(process, os.WNOHANG)
        if done:
            memory = usage.ru_maxrss * _MEMORY_UNIT
            reports.append(Report(engines.pop(process), os.waitstatus_to_exitcode(status), memory))
    return reports


def _tell(told: int, report: Report) -> None:
    with suppress(BrokenPipeError):  # whoever asked is gone, and the input will end, too
        os.write(told, msgspec.json.encode(report) + b"\n")
