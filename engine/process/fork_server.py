"""Many workers from one process: it imports what training needs once and forks a worker for each run.

``python -m engine.process.worker --forks`` reads runs from standard input, in the format of ``prewarmed.encode_run``.
It writes a ``ForkReport`` a line to standard output. It computes nothing itself, because the threads of numerical
libraries do not survive a fork. It exits when its input ends; the workers, in sessions of their own, continue.
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

from engine.process.prewarmed import attach_to_run, preload_libraries
from engine.system.process_signals import ENDING

_POLL = 0.02  # seconds between checks for workers that have exited
_CHUNK = 1 << 16
_MEMORY_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes per unit of ru_maxrss


class ForkReport(msgspec.Struct):
    """The exit of a worker, or, with an empty ``run``, that the server is ready.

    - ``run``: the run's folder.
    - ``status``: the worker's exit status, negative for a signal.
    - ``memory``: the worker's peak memory in bytes.
    """

    run: str = ""
    status: int = 0
    memory: int = 0


def serve() -> Path:
    """Fork workers until the input ends, then exit. Returns the run's folder, in each worker."""
    # The end of input ends the server, not a signal. Workers begin with signals blocked until they can answer them.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    output = os.dup(1)
    os.dup2(2, 1)  # keeps output of libraries out of the reports
    preload_libraries()
    _write(output, ForkReport())
    workers: dict[int, str] = {}
    rest = b""
    while True:
        ready, _, _ = select.select([0], [], [], _POLL if workers else None)
        for report in _exited(workers):
            _write(output, report)
        if not ready:
            continue
        chunk = os.read(0, _CHUNK)
        if not chunk:
            os._exit(0)  # skips the slow teardown of libraries
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            run = json.loads(line)
            process = _fork(run)
            if process == 0:
                os.close(output)
                return Path(run)
            if process > 0:
                workers[process] = run
            else:
                _write(output, ForkReport(run, status=-1))


def _fork(run: str) -> int:
    """Fork a worker. Returns 0 in the worker and its process id in the server; -1 if the fork fails."""
    try:
        process = os.fork()
    except OSError:
        traceback.print_exc()
        return -1
    if process == 0:
        os.setsid()
        attach_to_run(Path(run))
    return process


def _exited(workers: dict[int, str]) -> list[ForkReport]:
    """Reports of the workers that have exited since the last call."""
    reports = []
    for process in list(workers):
        done, status, usage = os.wait4(process, os.WNOHANG)
        if done:
            memory = usage.ru_maxrss * _MEMORY_UNIT
            reports.append(ForkReport(workers.pop(process), os.waitstatus_to_exitcode(status), memory))
    return reports


def _write(output: int, report: ForkReport) -> None:
    with suppress(BrokenPipeError):  # the parent is gone, and the input ends too
        os.write(output, msgspec.json.encode(report) + b"\n")
