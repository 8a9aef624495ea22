"""The exceptions that end a command or a run."""

from __future__ import annotations

from engine.files.escapes import printable

_LONGEST = 300  # characters of a library's message


class InputError(Exception):
    """The user's input can't be used; the process exits with code 2.

    The message is one sentence: what is wrong, where, what to do. It is shown without a traceback. Control characters
    in it are escaped.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence))


def first_line(error: BaseException) -> str:
    """The first line of a library's error message, of at most 300 characters."""
    return printable((str(error).strip() or type(error).__name__).splitlines()[0][:_LONGEST])


class TrainingFailed(Exception):
    """Training can't continue; the message says why and what to change."""


class RankLost(Exception):
    """Another rank of the run has ended; the message says why, as far as it is known."""
