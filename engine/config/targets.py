"""Labels of a dataset as written, and the targets that a task reads from them. Imports no torch."""

from __future__ import annotations

from typing import NamedTuple


class LabelColumns(NamedTuple):
    """The labels of a dataset as written: the ``names`` of their columns, and of each image a cell per column."""

    names: list[str]
    rows: list[list[str]]


class LabelError(Exception):
    """The label of image ``at`` can't be used; the message says why and what to do."""

    def __init__(self, reason: str, at: int = -1) -> None:
        super().__init__(reason)
        self.at = at


class Target(NamedTuple):
    """What is to be predicted for an image, and its ``text`` in tables. ``label`` and ``numbers``: see ``Sample``."""

    label: int
    numbers: tuple[float, ...] = ()
    text: str = ""


class Targets(NamedTuple):
    """The targets of a dataset. ``note``: what a user should know about how they were read, a sentence."""

    classes: list[str]
    targets: list[Target]
    note: str = ""
