"""The exit codes of the command line and of the worker process."""

from __future__ import annotations

from collections.abc import Mapping

DONE = 0
FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130

MEANINGS: Mapping[int, str] = {
    DONE: "Done.",
    FAILED: "The run or the command failed.",
    BAD_INPUT: "A command, a setting or the dataset can't be used. Nothing was started.",
    INTERRUPTED: "Interrupted by Ctrl-C, SIGTERM or a stop command.",
}
