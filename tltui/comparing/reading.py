"""Runs that are compared, read from their folders and looked at again while some of them train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.errors import InputError
from engine.rundir import RunFolder
from tltui.comparing.comparison import Told, compare
from tltui.comparing.structs import Comparison, Tests
from tltui.following import Following


class Comparing:
    """``look`` reads only what was added since the last look, and tests anew only what has other predictions."""

    def __init__(self, folders: Sequence[RunFolder]) -> None:
        """Raises InputError where fewer than two different runs are given, or the config of one can't be read."""
        different = list({folder.path.resolve(): folder for folder in folders}.values())
        if len(different) < 2:
            raise InputError("a comparison takes at least two different runs; `tltui runs` lists them")
        self._following = [Following(folder, steps=False) for folder in different]
        self._tests: Tests | None = None
        self._tested: object = None

    def look(self) -> Comparison:
        """The runs as they are now."""
        told = []
        for following in self._following:
            following.poll()
            folder = following.folder
            told.append(
                Told(folder.id, folder.path, following.config, following.state, following.status, folder.predictions)
            )
        tested = [(run.state.best, _version(run.predictions)) for run in told]
        comparison = compare(told, self._tests if tested == self._tested else None)
        self._tests, self._tested = comparison.mcnemar, tested
        return comparison


def _version(path: Path) -> tuple[int, int] | None:
    """What tells a file from the one that was there before."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
