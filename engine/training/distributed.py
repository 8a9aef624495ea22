"""Data-parallel training: the processes of a run and their collective operations.

Each process has the whole network and a local batch. After backward, gradients are summed over all processes, so that
all take the same step. torch.nn.parallel.DistributedDataParallel does the same, but its assumptions do not hold here:

- The parameters with gradients stay the same. Here freeze plans change them.
- A step is one call of one module. Here a batch may run in parts, or again after an out-of-memory error.
- Local batches are of equal size. Here they are not, and an epoch's last batches would weigh too much.

What DistributedDataParallel would add is the overlap of communication and backward.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.distributed.distributed_c10d import PrefixStore

from engine.errors import RankLost, first_line
from engine.system import rank_env

Value = TypeVar("Value")

_TIMEOUT = timedelta(days=7)  # the first may decode images for hours; a lost process shows as a lost connection
_GRACE_PERIOD = 5.0  # seconds for which processes wait for each other at the end
_SHORT_GRACE_PERIOD = 1.0  # the same if one is lost already
_POLL = 0.05  # seconds between checks whether the first process has ended the run
_RUN = "tltui run"  # the key of the run's folder in the store


class Ranks:
    """This process, number ``rank`` of ``world_size``, and the others.

    All processes have to call the same collective operations in the same order. With a single process they do nothing.
    They raise RankLost if another process is lost.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank = rank
        self.world_size = world_size
        self._store: Any = None
        self._base: Any = None
        self._done = threading.Event()
        self._watch: threading.Thread | None = None
        self._lost = False

    @classmethod
    def join(cls) -> Ranks:
        """Join the processes that torchrun has started, through Gloo, and NCCL for tensors on GPUs."""
        store, rank, world_size = next(distributed.rendezvous("env://", timeout=_TIMEOUT))  # pyright: ignore[reportPrivateImportUsage]
        ranks = cls(rank, world_size)
        ranks._base = store
        ranks._store = PrefixStore(f"tltui attempt {rank_env.attempt()}", store)
        if world_size > 1:
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            distributed.init_process_group(
                backend, store=ranks._store, rank=rank, world_size=world_size, timeout=_TIMEOUT
            )
        return ranks

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes to the run's folder and takes commands."""
        return self.rank == 0

    def any(self, mine: bool) -> bool:
        """Whether ``mine`` is true in any process."""
        if self.world_size == 1:
            return mine
        flag = torch.tensor([mine], dtype=torch.uint8)
        with self._connected():
            distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())

    def broadcast_value(self, make: Callable[[], Value]) -> Value:
        """The result of ``make``, which only the first process calls."""
        if self.world_size == 1:
            return make()
        values: list[Any] = [make() if self.is_main else None]
        with self._connected():
            distributed.broadcast_object_list(values)
        return values[0]

    def all_gather(self, mine: Value) -> list[Value]:
        """The values of all processes by rank, in every process."""
        if self.world_size == 1:
            return [mine]
        values: list[Any] = [None] * self.world_size
        with self._connected():
            distributed.all_gather_object(values, mine)
        return values

    def gather(self, mine: Value) -> list[Value]:
        """The values of all processes by rank, in the first process; an empty list in the others."""
        if self.world_size == 1:
            return [mine]
        values: list[Any] | None = [None] * self.world_size if self.is_main else None
        with self._connected():
            distributed.gather_object(mine, values)
        return values or []

    def all_reduce(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace ``tensors``, of one type and on one device, by their sums over all processes."""
        if self.world_size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with self._connected():
            distributed.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def all_gather_stacked(self, mine: torch.Tensor) -> torch.Tensor:
        """The tensors (…) of all processes as one tensor (world size, …)."""
        if self.world_size == 1:
            return mine.unsqueeze(0)
        tensors = [torch.empty_like(mine) for _ in range(self.world_size)]
        with self._connected():
            distributed.all_gather(tensors, mine.contiguous())
        return torch.stack(tensors)

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace ``tensors`` by those of the first process."""
        if self.world_size == 1:
            return
        for tensor in tensors:
            content = tensor.detach().contiguous()  # a copy if its memory format differs
            with self._connected():
                distributed.broadcast(content, 0)
            tensor.detach().copy_(content)

    @property
    def run(self) -> Path | None:
        """The run's folder, once the first process has set it. It survives a restart by torchrun."""
        return Path(self._base.get(_RUN).decode()) if self._base.check([_RUN]) else None

    @run.setter
    def run(self, path: Path) -> None:
        self._base.set(_RUN, str(path))

    def finish(self, status: int) -> None:
        """Let the other processes exit with ``status``. Only the first process calls it, at the end."""
        if self.world_size == 1:
            return
        deadline = time.monotonic() + (_SHORT_GRACE_PERIOD if self._lost else _GRACE_PERIOD)
        with suppress(RuntimeError):  # if the store is lost, so are the others
            self._store.set("over", str(status))
            while self._store.add("left", 0) < self.world_size - 1 and time.monotonic() < deadline:
                time.sleep(_POLL)

    def exit_with_first(self, scratch: Path) -> None:
        """End this process and remove ``scratch`` once the first process has ended the run. The others call it.

        It ends even while it waits in a collective operation for a process that is lost.
        """

        def watch() -> None:
            with suppress(RuntimeError):
                while not self._store.check(["over"]):
                    time.sleep(_POLL)
                self._done.wait(_GRACE_PERIOD / 2)
                shutil.rmtree(scratch, ignore_errors=True)
                status = int(self._store.get("over"))
                self._store.add("left", 1)
                os._exit(status)

        self._watch = threading.Thread(target=watch, daemon=True)
        self._watch.start()

    def wait_for_end(self, error: BaseException | None = None) -> None:
        """Wait until the first process ends the run. The others call it when they are done or have failed.

        Returns only after ``error``, which the first process is informed of, if the end does not come soon.
        """
        assert self._watch
        timeout = None if error is None else _GRACE_PERIOD
        if isinstance(error, RankLost):
            timeout = _SHORT_GRACE_PERIOD  # a process that ends gracefully has reported so before
        elif error is not None:
            with suppress(RuntimeError):
                self._store.set("failed", f"process {self.rank} on {socket.gethostname()}: {first_line(error)}")
        self._done.set()
        self._watch.join(timeout)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._lost = True
            reason = first_line(error)
            with suppress(RuntimeError):
                if self._store.check(["failed"]):
                    reason = self._store.get("failed").decode()
            raise RankLost(
                f"a process of the run is lost ({reason}); `tltui resume` continues from the last checkpoint"
            ) from error


SINGLE_PROCESS = Ranks()


def state_tensors(module: nn.Module) -> list[torch.Tensor]:
    """Parameters and buffers, in the same order in all processes."""
    return [*module.parameters(), *module.buffers()]
