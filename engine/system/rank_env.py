"""The environment that torchrun sets for each rank of a run. Imports no torch."""

from __future__ import annotations

import os


def is_rank() -> bool:
    """Whether torchrun started this process as a rank of a run."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def processes() -> int:
    """The world size."""
    return int(os.environ.get("WORLD_SIZE", "1")) if is_rank() else 1


def local_rank() -> int:
    """The local rank: this process's number on this machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0")) if is_rank() else 0


def local_processes() -> int:
    """The local world size: the number of ranks of the run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if is_rank() else 1


def attempt() -> int:
    """How often torchrun has restarted the ranks after one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def may_restart() -> bool:
    """Whether torchrun will restart the ranks if one exits with a status other than 0."""
    return attempt() < int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
