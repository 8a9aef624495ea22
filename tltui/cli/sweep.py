"""``tltui sweep``: finds a sweep, runs a worker of it, and prints its results."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.schema import RunConfig
from engine.config.toml_io import load
from engine.errors import InputError
from engine.experiments.sweep.definition import Sweep, define, read_file
from engine.experiments.sweep.events import SweepListed, SweepResults
from engine.experiments.sweep.sweep_toml import preset_to_toml
from tltui.cli.stop_signals import stop_requested
from tltui.cli.sweep_views import open_view, print_live, print_results
from tltui.runs import registry
from tltui.settings.demo import demo_config

if TYPE_CHECKING:
    from engine.experiments.sweep.study import Study

FILE = "sweeps.db"  # beside the runs, for sweeps that name no storage
DEMO = "demo"
_LOOK = 1.0  # seconds between looks at a watched sweep
_REPEAT_AFTER = 10.0  # seconds


def run_sweep(runs_dir: Path, name: str | None, join: str | None, *, as_json: bool) -> int:
    """Run a worker of a sweep; returns the exit status. ``name`` is a sweep.toml or a sweep's name.

    ``join``: the URL of the storage that holds it. Raises InputError.
    """
    from engine.experiments.sweep.results import results
    from engine.experiments.sweep.storage import storage_errors
    from engine.experiments.sweep.study import open_study
    from engine.experiments.sweep.worker import Worker

    sweep, url = _resolve(runs_dir, name, join)
    if sweep is None:
        study = _open_started(url, name)
        _make_folder(runs_dir)
    else:
        _make_folder(runs_dir)
        study = open_study(sweep, url)
    with storage_errors(url):
        with open_view(study.sweep, as_json=as_json) as view, stop_requested() as stopping:
            Worker(study, runs_dir, view.show).work(stopping)
            status = 130 if stopping() else 0
        print_results(results(study), as_json=as_json)
    return status


def show_sweep(runs_dir: Path, name: str | None, join: str | None, *, watch: bool, as_json: bool) -> None:
    """Print a sweep's results so far; with ``watch`` until it ends. Arguments are those of ``run_sweep``."""
    from engine.experiments.sweep.results import results

    with _started(runs_dir, name, join) as study:
        if watch:
            print_live(_changes(lambda: results(study)), as_json=as_json)
        else:
            print_results(results(study), as_json=as_json)


def stop_sweep(runs_dir: Path, name: str | None, join: str | None) -> None:
    """Stop all workers of a sweep, with checkpoints. Arguments are those of ``run_sweep``."""
    with _started(runs_dir, name, join) as study:
        study.ask_to_stop()


def list_sweeps(runs_dir: Path) -> list[SweepListed]:
    """The sweeps stored beside the runs. Raises InputError."""
    from engine.experiments.sweep.results import summarize
    from engine.experiments.sweep.storage import storage_errors
    from engine.experiments.sweep.study import all_studies

    url = default_storage(runs_dir)
    if not _may_exist(url):
        return []
    with storage_errors(url):
        return [summarize(study) for study in all_studies(url)]


def _changes(look: Callable[[], SweepResults]) -> Iterator[SweepResults]:
    """Results whenever they change, checked each second; repeated after a while, so that a closed pipe is noticed."""
    last, reported = None, 0.0
    while last is None or not last.over:
        found = look()
        if found != last or time.monotonic() - reported > _REPEAT_AFTER:
            last, reported = found, time.monotonic()
            yield found
        time.sleep(_LOOK)


@contextmanager
def _started(runs_dir: Path, name: str | None, join: str | None) -> Iterator[Study]:
    """Open a sweep that has started. Raises InputError, also for errors of its storage inside the block."""
    from engine.experiments.sweep.storage import storage_errors

    sweep, url = _resolve(runs_dir, name, join)
    study = _open_started(url, sweep.name if sweep else name)
    with storage_errors(url):
        yield study


def _open_started(url: str, name: str | None) -> Study:
    """Open a sweep that has started. Raises InputError."""
    from engine.experiments.sweep.study import find_study

    if not _may_exist(url):
        raise InputError(f"{name or url}: this sweep has not started; `tltui sweep FILE` starts one")
    return find_study(url, name or "")


def default_storage(runs_dir: Path) -> str:
    """The default storage of sweeps, beside the runs."""
    return f"sqlite:///{runs_dir / FILE}"


def preset_sweep(runs_dir: Path, preset: str, base: str, folder: Path) -> str:
    """The sweep.toml of a preset, to be written into ``folder``; ``base`` is relative to the current folder.

    Raises InputError.
    """
    config = _base(runs_dir, base, Path())
    file = Path(base).expanduser()
    if base != DEMO and (file.is_file() or file.suffix == ".toml"):
        base = os.path.relpath(file.resolve(), folder.resolve())  # sweep.toml reads it relative to its own folder
    return preset_to_toml(preset, base, config)


def _resolve(runs_dir: Path, name: str | None, join: str | None) -> tuple[Sweep | None, str]:
    """The sweep that a file defines, or None if a storage holds it; and the storage's URL."""
    if join is not None:
        return None, join
    if name is None:
        raise InputError("no sweep was named; give a sweep.toml, a sweep's name, or --join URL")
    path = Path(name)
    if not (path.is_file() or path.suffix == ".toml"):
        return None, default_storage(runs_dir)
    file = read_file(path)
    sweep = define(path, file, _base(runs_dir, file.base, path.resolve().parent))
    return sweep, file.storage or default_storage(runs_dir)


def _may_exist(url: str) -> bool:
    """Whether a storage may hold sweeps; opening a missing SQLite file would create it."""
    path = url.removeprefix("sqlite:///")
    return path == url or Path(path).is_file()


def _make_folder(runs_dir: Path) -> None:
    try:
        runs_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(
            f"{runs_dir}: can't hold runs ({error.strerror}); choose another folder with --runs-dir or $TLTUI_RUNS"
        ) from None


def _base(runs_dir: Path, name: str, folder: Path) -> RunConfig:
    """The config of a base: "demo", a file relative to ``folder``, or a run. Raises InputError."""
    if name == DEMO:
        return demo_config({})
    path = folder / Path(name).expanduser()
    if path.is_file() or path.suffix == ".toml":
        return load(path)
    return registry.find(runs_dir, name).load_config()
