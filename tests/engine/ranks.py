"""Runs that several processes train together, without paying for the import of torch in each, nor for torchrun."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from engine.cache.folder import CACHE, cache_root
from engine.runs.folder import RunFolder
from tests.faults.lives import Script, follow
from tests.forked_starts.context import forking_context


class Together:
    """The processes of a run, as torchrun starts them."""

    def __init__(
        self, folder: RunFolder, count: int = 2, script: Script | None = None, caches: Sequence[Path] = ()
    ) -> None:
        """``caches``: of each process its own, as on machines that share no files."""
        with socket.create_server(("localhost", 0)) as free:
            port = free.getsockname()[1]
        self._processes: list[BaseProcess] = [
            forking_context().Process(
                target=_be_rank,
                args=(folder, rank, count, port, script or [], caches[rank] if caches else cache_root()),
            )
            for rank in range(count)
        ]
        for process in self._processes:
            process.start()

    def kill(self, rank: int) -> None:
        """As a loss of power would."""
        self._processes[rank].kill()

    def signal(self, rank: int, number: int) -> None:
        """Send a signal to one of them."""
        os.kill(self._processes[rank].pid or 0, number)

    def wait(self, timeout: float = 120.0) -> list[int | None]:
        """The exit status of each, negative for a signal."""
        for process in self._processes:
            process.join(timeout)
        found = [process.exitcode for process in self._processes]
        for process in self._processes:
            process.kill()
        return found


def _be_rank(folder: RunFolder, rank: int, count: int, port: int, script: Script, cache: Path) -> None:
    from engine.process import worker

    os.environ |= {
        "TORCHELASTIC_RUN_ID": "test",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        CACHE: str(cache),
    }
    log = os.open(folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if rank == 0:
        follow(script, folder)
    os._exit(worker.main(folder.path))
