"""Reads the runs of a comparison from their folders, again and again while some of them train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.errors import InputError
from engine.runs.folder import RunFolder
from engine.runs.progress import Report, quiet
from tltui.compare.comparison import RunSource, compare, paired_tests
from tltui.compare.structs import Comparison, Tests
from tltui.runs.run_follower import RunFollower


class ComparisonReader:
    """Each ``read`` takes only new events, and repeats tests only where predictions changed."""

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
        """The comparison now; the same object where nothing changed since the last call.

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
        sources = [_source(following) for following in followed]
        tested = [_test_inputs(run) for run in sources]
        if self._tests is None or tested != self._tested:
            self._tests, self._tested = paired_tests(sources, report), tested
            news = True
        if self._seen is None or news:
            self._seen = compare(sources, self._tests)
        return self._seen


def _source(following: RunFollower) -> RunSource:
    folder = following.folder
    return RunSource(folder.id, folder.path, following.config, following.state, following.status, folder.predictions)


def _test_inputs(run: RunSource) -> tuple[object, ...]:
    """The tests' inputs. The validation score counts only once there are predictions, so not during training."""
    try:
        status = run.predictions.stat()
    except OSError:
        return (run.state.best is None,)
    return status.st_mtime_ns, status.st_size, run.state.best
