"""The engines of a sweep's trials, which one process that has imported everything forks."""

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

FORKS = python_module("engine.process.worker", "--forks")
_CHUNK = 1 << 16


class TrialEngines:
    """Starts engines and tells when they ended. They outlive this object and its process."""

    def __init__(self, log: Path, parallel: int) -> None:
        """``log``: where what the process that forks prints is appended; ``parallel`` engines share the cores."""
        self._log = log
        self._threads = max(1, usable_cores() // parallel)
        self._process: subprocess.Popen[bytes] | None = None
        self._at_work: dict[str, RunFolder] = {}
        self._ended: dict[str, ForkReport] = {}
        self._not_ours: set[str] = set()  # of whose end no report will come, only their lock tells
        self._rest = b""
        self._ready = False
        self._failures = 0

    def start(self, folder: RunFolder) -> None:
        """Start an engine for a run."""
        if self._process is None:
            self._begin()
        self._at_work[str(folder.path)] = folder
        self._ask(folder)

    def watch(self, folder: RunFolder) -> None:
        """Tell of the end of an engine that someone else started, and that is at work."""
        self._at_work[str(folder.path)] = folder
        self._not_ours.add(str(folder.path))

    def ended(self, folder: RunFolder) -> ForkReport | None:
        """What became of a run's engine, once; None while it is at work. Raises InputError where none can be had."""
        self._look()
        run = str(folder.path)
        if run in self._not_ours and not is_locked(folder):
            self._not_ours.remove(run)
            self._take_in(ForkReport(run))
        return self._ended.pop(run, None)

    def leave(self) -> None:
        """Let the process that forks go; engines that are at work go on."""
        if self._process is not None and self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.stdout.close()
            if not self._ready:  # it would not look at its input before all is imported
                self._process.kill()
            self._process.wait()
        self._process = None

    def _begin(self) -> None:
        self._ready = False
        self._rest = b""
        with open_to_append(self._log) as log:
            self._process = subprocess.Popen(
                FORKS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,
                env=environment(OMP_NUM_THREADS=str(self._threads)),
            )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def _ask(self, folder: RunFolder) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError):  # it died just now; the next look tells
            self._process.stdin.write(encode_run(folder))

    def _look(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        gone = self._process.poll() is not None
        while chunk := self._process.stdout.read(_CHUNK):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._take_in(msgspec.json.decode(line, type=ForkReport))
        if gone:
            self._begin_again()

    def _take_in(self, report: ForkReport) -> None:
        if not report.run:
            self._ready = True
            return
        self._failures = 0
        self._at_work.pop(report.run, None)
        self._ended[report.run] = report

    def _begin_again(self) -> None:
        """The process that forks died: another takes its place, once until an engine has come to its end."""
        self._failures += 1
        if self._failures > 1:
            raise InputError(
                f"the process that starts the trials' engines died twice; {self._log} may tell why, and `tltui doctor` "
                "whether PyTorch can be used"
            )
        was_ready = self._ready
        self._begin()
        for run, folder in list(self._at_work.items()):
            if is_locked(folder):
                self._not_ours.add(run)
            elif was_ready:
                del self._at_work[run]
                self._ended[run] = ForkReport(run, status=-1)
            else:
                self._ask(folder)
