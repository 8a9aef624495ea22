"""Sweeps of the app: `tltui sweep` starts, watches and stops them, so that the app imports no Optuna."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

from engine.errors import InputError
from engine.experiments.sweep.definition import LOG
from engine.experiments.sweep.events import SweepListed, SweepResults
from engine.files.safe_open import open_to_append
from engine.system.interpreter import environment, python_module
from tltui.engine_client.json_lines import KEPT_STDERR, failure_sentence, request, stream

_COMMAND = python_module("tltui", "sweep")
_SWEEPS = "`tltui sweep`"  # in error sentences


class SweepWorker:
    """A worker process of a sweep, in a session of its own: it outlives the app, so it writes to the sweeps' log."""

    def __init__(self, runs_dir: Path, sweep: str) -> None:
        """``sweep``: the path of its file, or its name. Raises InputError where the process can't be started."""
        self._log = runs_dir / LOG
        try:
            with open_to_append(self._log) as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    [*_COMMAND, sweep, "--json", "--runs-dir", str(runs_dir)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                    env=environment(),
                )
        except OSError as error:
            raise InputError(f"{self._log}: can't be written ({error.strerror}); make room there") from None

    @property
    def is_running(self) -> bool:
        """Whether the process has not exited yet."""
        return self._process.poll() is None

    @property
    def error(self) -> str:
        """Why the worker failed; "" while it runs and after it completed or was stopped."""
        if self.is_running or self._process.returncode in (0, 130):
            return ""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            stderr = log.read()[-KEPT_STDERR:]
        return failure_sentence("the worker", self._process.returncode, stderr)


def watch(runs_dir: Path, sweep: str) -> AsyncGenerator[SweepResults]:
    """A sweep's results, again whenever they change. Raises InputError."""
    return stream((*_COMMAND, "--watch", "--json", "--runs-dir", str(runs_dir), "--", sweep), _SWEEPS, SweepResults)


async def list_sweeps(runs_dir: Path) -> list[SweepListed]:
    """The sweeps whose storage lies beside the runs. Raises InputError."""
    return await request((*_COMMAND, "--json", "--runs-dir", str(runs_dir)), _SWEEPS, list[SweepListed])


async def stop(runs_dir: Path, sweep: str) -> None:
    """Ask all workers of a sweep to stop gracefully, with a checkpoint. Raises InputError."""
    async for _ in stream((*_COMMAND, "--stop", "--runs-dir", str(runs_dir), "--", sweep), _SWEEPS, object):
        pass
