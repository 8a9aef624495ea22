"""``tltui sweep``: which sweep is meant, a worker for it, and what came of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.schema import RunConfig
from engine.config.toml_io import load
from engine.errors import InputError
from engine.experiments.sweep import presets
from engine.experiments.sweep.definition import Sweep, define, read_file
from engine.experiments.sweep.events import SweepListed, SweepResults
from tltui.cli.sweep_views import open_view, print_as_it_goes_on, print_results
from tltui.runs import registry
from tltui.settings.demo import demo_config

if TYPE_CHECKING:
    from engine.experiments.sweep.study import Study

FILE = "sweeps.db"  # beside the runs, for sweeps that name no storage
DEMO = "demo"
_LOOK = 1.0  # seconds between looks at a sweep that is watched
_SAY_AGAIN = 10.0  # seconds


def run_sweep(runs_dir: Path, name: str | None, join: str | None, *, as_json: bool) -> int:
    """Work on a sweep; returns the exit status. ``name`` is a sweep.toml or a sweep's name.

    ``join``: the storage to look for it in. Raises InputError.
    """
    from engine.experiments.sweep.results import results
    from engine.experiments.sweep.storage import storage_errors
    from engine.experiments.sweep.study import open_study
    from engine.experiments.sweep.worker import Worker

    sweep, url = _meant(runs_dir, name, join)
    if sweep is None:
        study = _there(url, name)
        _make(runs_dir)
    else:
        _make(runs_dir)
        study = open_study(sweep, url)
    with storage_errors(url):
        with open_view(study.sweep, as_json=as_json) as view, _asked_to_stop() as asked:
            Worker(study, runs_dir, view.show).work(asked)
            status = 130 if asked() else 0
        print_results(results(study), as_json=as_json)
    return status


def show_sweep(runs_dir: Path, name: str | None, join: str | None, *, watch: bool, as_json: bool) -> None:
    """Print what came of a sweep so far; with ``watch`` as long as it goes on. Arguments are those of ``run_sweep``."""
    from engine.experiments.sweep.results import results

    with _begun(runs_dir, name, join) as study:
        if watch:
            print_as_it_goes_on(_looks(lambda: results(study)), as_json=as_json)
        else:
            print_results(results(study), as_json=as_json)


def stop_sweep(runs_dir: Path, name: str | None, join: str | None) -> None:
    """Ask whoever works on a sweep to stop in order. Arguments are those of ``run_sweep``."""
    with _begun(runs_dir, name, join) as study:
        study.ask_to_stop()


def list_sweeps(runs_dir: Path) -> list[SweepListed]:
    """The sweeps whose storage lies beside the runs. Raises InputError."""
    from engine.experiments.sweep.results import in_short
    from engine.experiments.sweep.storage import storage_errors
    from engine.experiments.sweep.study import all_studies

    url = beside(runs_dir)
    if not _may_be_there(url):
        return []
    with storage_errors(url):
        return [in_short(study) for study in all_studies(url)]


def _looks(look: Callable[[], SweepResults]) -> Iterator[SweepResults]:
    """What is new, each second; the same again after a while, so that a reader that is gone is noticed."""
    last, told = None, 0.0
    while last is None or not last.over:
        found = look()
        if found != last or time.monotonic() - told > _SAY_AGAIN:
            last, told = found, time.monotonic()
            yield found
        time.sleep(_LOOK)


@contextmanager
def _begun(runs_dir: Path, name: str | None, join: str | None) -> Iterator[Study]:
    """A sweep that has begun. Raises InputError, also for what goes wrong with its storage meanwhile."""
    from engine.experiments.sweep.storage import storage_errors

    sweep, url = _meant(runs_dir, name, join)
    study = _there(url, sweep.name if sweep else name)
    with storage_errors(url):
        yield study


def _there(url: str, name: str | None) -> Study:
    """A sweep that has begun. Raises InputError."""
    from engine.experiments.sweep.study import find_study

    if not _may_be_there(url):
        raise InputError(f"{name or url}: nothing has been tried of this sweep yet; `tltui sweep FILE` begins one")
    return find_study(url, name or "")


def beside(runs_dir: Path) -> str:
    """The storage of sweeps that name none."""
    return f"sqlite:///{runs_dir / FILE}"


def ready_sweep(runs_dir: Path, kind: str, base: str) -> str:
    """The sweep.toml of the ready-made sweep ``kind``, for a base as sweep.toml has it. Raises InputError."""
    return presets.to_toml(kind, base, _base(runs_dir, base, Path()))


def _meant(runs_dir: Path, name: str | None, join: str | None) -> tuple[Sweep | None, str]:
    """The sweep that a file describes, None where a storage has it; and the storage's URL."""
    if join is not None:
        return None, join
    if name is None:
        raise InputError("say which sweep: a sweep.toml, the name of a sweep, or --join URL")
    path = Path(name)
    if not (path.is_file() or path.suffix == ".toml"):
        return None, beside(runs_dir)
    file = read_file(path)
    sweep = define(path, file, _base(runs_dir, file.base, path.resolve().parent))
    return sweep, file.storage or beside(runs_dir)


def _may_be_there(url: str) -> bool:
    """Whether a storage may hold something: of SQLite a file that is not there does not, and would be made."""
    path = url.removeprefix("sqlite:///")
    return path == url or Path(path).is_file()


def _make(runs_dir: Path) -> None:
    try:
        runs_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(
            f"{runs_dir}: can't hold runs ({error.strerror}); choose another folder with --runs-dir or $TLTUI_RUNS"
        ) from None


def _base(runs_dir: Path, name: str, folder: Path) -> RunConfig:
    """The config that ``base`` names: "demo", a file as seen from ``folder``, or a run. Raises InputError."""
    if name == DEMO:
        return demo_config({})
    path = folder / Path(name).expanduser()
    if path.is_file() or path.suffix == ".toml":
        return load(path)
    return registry.find(runs_dir, name).load_config()


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came; a second Ctrl-C leaves at once, and the trials under way go on."""
    seen: list[int] = []

    def note(number: int, _frame: object) -> None:
        if seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        seen.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
