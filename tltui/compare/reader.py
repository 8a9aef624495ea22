"""Runs that are compared, read from their folders and looked at again while some of them train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.errors import InputError
from engine.runs.folder import RunFolder
from engine.runs.progress import Report, quiet
from tltui.compare.comparison import RunSource, compare, mcnemar_tests
from tltui.compare.structs import Comparison, Tests
from tltui.runs.run_follower import RunFollower


class ComparisonReader:
    """``read`` reads only what was added since the last look, and tests anew only where predictions are others."""

    def __init__(self, folders: Sequence[RunFolder]) -> None:
        """Reads nothing yet. Raises InputError where fewer than two different runs are given."""
        self._folders = list({folder.path.resolve(): folder for folder in folders}.values())
        if len(self._folders) < 2:
            raise InputError("a comparison takes at least two different runs; `tltui runs` lists them")
        self._following: dict[Path, RunFollower] = {}
        self._seen: Comparison | None = None
        self._tests: Tests | None = None
        self._tested: object = None

    def read(self, report: Report = quiet) -> Comparison:
        """The runs as they are now; the same object where nothing is new since the last look.

        Raises InputError where the config of one can't be read.
        """
        followed = []
        news = False
        for done, folder in enumerate(self._folders, start=1):
            following = self._following.get(folder.path)
            if following is None:
                following = self._following[folder.path] = RunFollower(folder, steps=False)
            news |= following.poll()
            followed.append(following)
            report("runs", done, len(self._folders), "runs")
        told = [_told(following) for following in followed]
        tested = [_tested_on(run) for run in told]
        if self._tests is None or tested != self._tested:
            self._tests, self._tested = mcnemar_tests(told, report), tested
            news = True
        if self._seen is None or news:
            self._seen = compare(told, self._tests)
        return self._seen


def _told(following: RunFollower) -> RunSource:
    folder = following.folder
    return RunSource(folder.id, folder.path, following.config, following.state, following.status, folder.predictions)


def _tested_on(run: RunSource) -> tuple[object, ...]:
    """What tests depend on. How good a run is matters only once it has predictions, so not while it trains."""
    try:
        status = run.predictions.stat()
    except OSError:
        return (run.state.best is None,)
    return status.st_mtime_ns, status.st_size, run.state.best
