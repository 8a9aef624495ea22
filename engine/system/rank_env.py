"""What torchrun tells each of the processes that it starts to train one run together. Imports nothing heavy."""

from __future__ import annotations

import os


def is_rank() -> bool:
    """Whether torchrun started this process, as one of those that train a run."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def processes() -> int:
    """How many train this one's run together."""
    return int(os.environ.get("WORLD_SIZE", "1")) if is_rank() else 1


def local_rank() -> int:
    """The number of this process among those of its run on this machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0")) if is_rank() else 0


def local_processes() -> int:
    """How many processes of this one's run share the machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if is_rank() else 1


def attempt() -> int:
    """How often torchrun has started these processes anew, after one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def may_restart() -> bool:
    """Whether torchrun will start the processes anew where one ends with another status than 0."""
    return attempt() < int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
