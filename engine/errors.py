"""The ways in which work ends early."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.files.escapes import printable

if TYPE_CHECKING:
    pass


_LONGEST = 300  # characters of what a library says


class InputError(Exception):
    """What the user gave can't be used.

    The message is one sentence that says what is wrong, where, and what to do; it is shown as it is,
    without a traceback, and the process exits with status 2. What names in it could do to a terminal is written out.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence))


def first_line(error: BaseException) -> str:
    """What a library's error says, short enough for a sentence of ours."""
    return printable((str(error).strip() or type(error).__name__).splitlines()[0][:_LONGEST])


class TrainingFailed(Exception):
    """Training can't go on; the message says why and what to change."""


class RankLost(Exception):
    """Another of the processes that train a run together is gone; the message says why, as far as it is known."""
