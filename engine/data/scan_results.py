"""The result of a scan, as `tltui data --json` prints it. Imports neither torch nor Pillow: the app reads it."""

from __future__ import annotations

import msgspec

from engine.runs.dataset_summary import DatasetSummary, SkippedFile


class ScanFinding(msgspec.Struct):
    """Something about the dataset that may need a change. ``code``: as that of a warning; ``message``: what to do."""

    code: str
    message: str


class NumberRange(msgspec.Struct):
    """The least, the mean and the greatest value of a number to predict, in the dataset's units."""

    least: float
    mean: float
    greatest: float


class DatasetScan(msgspec.Struct):
    """What a scan of a dataset found.

    ``classes``: images per class or label, the largest first, or per rank, the lowest first; {} for numbers to
    predict. ``numbers``: the range of each of these by name. ``splits``: images per split of the dataset's own, ""
    while undecided. ``groups``: their number. ``passed_over``: files that are no images, by suffix. ``problem``: why
    the dataset can't be used; "" where it can.
    """

    path: str
    source: str
    task: str
    summary: DatasetSummary
    classes: dict[str, int] = {}
    numbers: dict[str, NumberRange] = {}
    splits: dict[str, int] = {}
    groups: int = 0
    unreadable: list[SkippedFile] = []
    passed_over: dict[str, int] = {}
    findings: list[ScanFinding] = []
    problem: str = ""
    seconds: float = 0.0
