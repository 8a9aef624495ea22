"""Sweeps of the app: `tltui sweep` starts, watches and stops them, so that the app imports no Optuna."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from engine.experiments.sweep.definition import LOG
from engine.experiments.sweep.events import SweepListed, SweepResults
from engine.system.interpreter import python_module
from tltui.engine_client.background import BackgroundCommand
from tltui.engine_client.json_lines import request, stream

_COMMAND = python_module("tltui", "sweep")
_SWEEPS = "`tltui sweep`"  # in error sentences


def start_worker(runs_dir: Path, sweep: str) -> BackgroundCommand:
    """Start a worker of a sweep. ``sweep``: the path of its file, or its name. Raises InputError."""
    return BackgroundCommand(["sweep", sweep, "--json", "--runs-dir", str(runs_dir)], runs_dir / LOG)


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
