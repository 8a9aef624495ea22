"""Decides whether a dataset with unreadable files can be used."""

from __future__ import annotations

from collections.abc import Sequence

from engine.runs.dataset_summary import SkippedFile

_MOST = 0.2  # with more unreadable files than this share, the path or the format is wrong


def why_unusable(unreadable: Sequence[SkippedFile], total: int) -> str:
    """The error of a dataset of ``total`` images with too many ``unreadable`` ones; "" where it can be used."""
    if len(unreadable) <= _MOST * total:
        return ""
    first = unreadable[0]
    return (
        f"{len(unreadable)} of {total} images can't be read, more than {_MOST:.0%}; "
        f"the first is {first.path} ({first.reason})"
    )
