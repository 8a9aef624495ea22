"""Sweeps of the app: started, watched and stopped by the command, so that the app imports no Optuna."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

from engine.errors import InputError
from engine.experiments.sweep.definition import LOG
from engine.experiments.sweep.events import SweepListed, SweepResults
from engine.files.safe_open import open_to_append
from engine.system.interpreter import environment, python_module
from tltui.engine_client.json_lines import answers

_COMMAND = python_module("tltui", "sweep")
_SAID = 2000  # bytes of the end of what a process said


class SweepWorker:
    """A process that works on a sweep, in a session of its own: it outlives the app."""

    def __init__(self, runs_dir: Path, sweep: str) -> None:
        """``sweep``: the path of its file, or its name. Raises InputError where the process can't be started."""
        self._log = runs_dir / LOG
        try:
            with open_to_append(self._log) as log:
                self._said_from = log.tell()
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
        """Whether it is still there."""
        return self._process.poll() is None

    @property
    def error(self) -> str:
        """Why it came to no result; "" while it works and where it did."""
        if self.is_running or self._process.returncode in (0, 130):
            return ""
        with self._log.open("rb") as log:
            log.seek(self._said_from)
            said = log.read()[-_SAID:].decode(errors="replace").strip().splitlines()
        return said[-1].removeprefix("tltui: ") if said else f"its worker ended with {self._process.returncode}"


def watch(runs_dir: Path, sweep: str) -> AsyncGenerator[SweepResults]:
    """What is known of a sweep, again whenever something is new. Raises InputError."""
    return answers((*_COMMAND, "--watch", "--json", "--runs-dir", str(runs_dir), "--", sweep), SweepResults)


async def list_sweeps(runs_dir: Path) -> list[SweepListed]:
    """The sweeps there are. Raises InputError."""
    async for sweeps in answers((*_COMMAND, "--json", "--runs-dir", str(runs_dir)), list[SweepListed]):
        return sweeps
    return []


async def stop(runs_dir: Path, sweep: str) -> None:
    """Ask whoever works on a sweep to stop in order. Raises InputError."""
    async for _ in answers((*_COMMAND, "--stop", "--runs-dir", str(runs_dir), "--", sweep), object):
        pass
