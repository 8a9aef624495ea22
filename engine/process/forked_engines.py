"""Starts workers for many runs: one process imports all libraries and forks a worker for each run."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.errors import InputError
from engine.files.safe_open import open_to_append
from engine.process.fork_server import ForkReport
from engine.process.prewarmed import encode_run
from engine.runs.folder import RunFolder
from engine.runs.lock import is_locked
from engine.system.cpu import usable_cores
from engine.system.interpreter import environment, python_module

_FORK_SERVER = python_module("engine.process.worker", "--forks")
_CHUNK = 1 << 16


class ForkedEngines:
    """Starts engines and reports when they end. Engines outlive this object and its process."""

    def __init__(self, log: Path, parallel: int) -> None:
        """``log``: receives the output of the fork server. ``parallel`` engines share the cores."""
        self._log = log
        self._threads = max(1, usable_cores() // parallel)
        self._process: subprocess.Popen[bytes] | None = None
        self._running: dict[str, RunFolder] = {}
        self._ended: dict[str, ForkReport] = {}
        self._adopted: set[str] = set()  # started by others: no report comes, their lock shows the end
        self._buffer = b""
        self._ready = False
        self._failures = 0

    def start(self, folder: RunFolder) -> None:
        """Start an engine for a run."""
        if self._process is None:
            self._start_server()
        self._running[str(folder.path)] = folder
        self._request(folder)

    def watch(self, folder: RunFolder) -> None:
        """Report the end of a running engine that another process started."""
        self._running[str(folder.path)] = folder
        self._adopted.add(str(folder.path))

    def ended(self, folder: RunFolder) -> ForkReport | None:
        """The report on a run's engine, once; None while it is running. Raises InputError where none can start."""
        self._read_reports()
        run = str(folder.path)
        if run in self._adopted and not is_locked(folder):
            self._adopted.remove(run)
            self._handle(ForkReport(run))
        return self._ended.pop(run, None)

    def detach(self) -> None:
        """End the fork server; running engines continue."""
        if self._process is not None and self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.stdout.close()
            if not self._ready:  # it does not read its input before all is imported
                self._process.kill()
            self._process.wait()
        self._process = None

    def _start_server(self) -> None:
        self._ready = False
        self._buffer = b""
        with open_to_append(self._log) as log:
            self._process = subprocess.Popen(
                _FORK_SERVER,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,
                env=environment(OMP_NUM_THREADS=str(self._threads)),
            )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def _request(self, folder: RunFolder) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError):  # it has just died; the next read handles it
            self._process.stdin.write(encode_run(folder))

    def _read_reports(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        exited = self._process.poll() is not None
        while chunk := self._process.stdout.read(_CHUNK):
            *lines, self._buffer = (self._buffer + chunk).split(b"\n")
            for line in lines:
                self._handle(msgspec.json.decode(line, type=ForkReport))
        if exited:
            self._restart_server()

    def _handle(self, report: ForkReport) -> None:
        if not report.run:
            self._ready = True
            return
        self._failures = 0
        self._running.pop(report.run, None)
        self._ended[report.run] = report

    def _restart_server(self) -> None:
        """Restart the fork server after a crash, at most once until an engine has ended."""
        self._failures += 1
        if self._failures > 1:
            raise InputError(
                f"the process that starts the workers crashed twice; see {self._log}, and run "
                "`tltui doctor` to check PyTorch"
            )
        was_ready = self._ready
        self._start_server()
        for run, folder in list(self._running.items()):
            if is_locked(folder):
                self._adopted.add(run)
            elif was_ready:
                del self._running[run]
                self._ended[run] = ForkReport(run, status=-1)
            else:
                self._request(folder)
