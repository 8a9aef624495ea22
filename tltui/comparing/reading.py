"""Runs that are compared, read from their folders."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import InputError
from engine.rundir import RunFolder
from tltui.comparing.comparison import Told
from tltui.following import Following


def read_runs(folders: Sequence[RunFolder]) -> list[Told]:
    """The runs as they are now, each once.

    Raises InputError where fewer than two different runs are given, or the config of one can't be read.
    """
    different = list({folder.path.resolve(): folder for folder in folders}.values())
    if len(different) < 2:
        raise InputError("a comparison takes at least two different runs; `tltui runs` lists them")
    return [_told(Following(folder, steps=False)) for folder in different]


def _told(following: Following) -> Told:
    following.poll()
    folder = following.folder
    return Told(folder.id, folder.path, following.config, following.state, following.status, folder.predictions)
