"""``tltui sweep``: which sweep is meant, a worker for it, and what came of it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.config import RunConfig, load
from engine.errors import InputError
from engine.experiments.sweep import ready
from engine.experiments.sweep.definition import Sweep, define, read_file
from tltui import runs
from tltui.demo import demo_config
from tltui.sweeping.views import open_view, print_results

FILE = "sweeps.db"  # beside the runs, for sweeps that name no storage
DEMO = "demo"


def run_sweep(runs_dir: Path, name: str | None, join: str | None, *, show: bool, as_json: bool) -> int:
    """Work on a sweep, or just show it; returns the exit status. ``name`` is a sweep.toml or a sweep's name.

    ``join``: the storage to look for it in; "" for the file beside the runs. Raises InputError.
    """
    from engine.experiments.sweep.conduct import Worker
    from engine.experiments.sweep.results import results
    from engine.experiments.sweep.study import find_study, open_study, storage_errors

    sweep, url = _meant(runs_dir, name, join)
    if (sweep is None or show) and not _may_be_there(url):
        raise InputError(f"{name or join}: nothing has been tried of this sweep yet; `tltui sweep FILE` begins one")
    if not show:
        _make(runs_dir)
    study = find_study(url, name or "") if sweep is None else open_study(sweep, url)
    with storage_errors(url):
        status = 0
        if not show:
            with open_view(study.sweep, as_json=as_json) as view, _asked_to_stop() as asked:
                Worker(study, runs_dir, view.show).work(asked)
                status = 130 if asked() else 0
        print_results(results(study), as_json=as_json)
        return status


def ready_sweep(runs_dir: Path, kind: str, base: str) -> str:
    """The sweep.toml of the ready-made sweep ``kind``, for a base as sweep.toml has it. Raises InputError."""
    return ready.to_toml(kind, base, _base(runs_dir, base, Path()))


def _meant(runs_dir: Path, name: str | None, join: str | None) -> tuple[Sweep | None, str]:
    """The sweep that a file describes, None where a storage has it; and the storage's URL."""
    if join is not None:
        return None, join
    if name is None:
        raise InputError("say which sweep: a sweep.toml, the name of a sweep, or --join URL")
    beside = f"sqlite:///{runs_dir / FILE}"
    path = Path(name)
    if not (path.is_file() or path.suffix == ".toml"):
        return None, beside
    file = read_file(path)
    sweep = define(path, file, _base(runs_dir, file.base, path.resolve().parent))
    return sweep, file.storage or beside


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
    return runs.find(runs_dir, name).load_config()


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
