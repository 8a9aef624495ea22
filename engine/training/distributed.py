"""The processes that train one run together: what they tell each other.

Each has the whole network and a part of every batch; after backward their gradients are added up, so that all take the
same step. That is what torch.nn.parallel.DistributedDataParallel does, too. It is not used because it takes for granted
what does not hold here: that the parameters with gradients stay the same (plans change), that one call of one module
makes a step (a batch may go through in parts, or again where memory was too small or to find where a number exploded),
and that parts are of equal size (an epoch's last batches would then weigh too much). What it would give is that
gradients travel while others are still computed.
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

_PATIENCE = timedelta(days=7)  # the first may decode images for hours; who is gone is known from its connection
_GRACE = 5.0  # seconds in which processes that end wait for each other
_SHORT = 1.0  # the same where one is gone already
_POLL = 0.05  # seconds between looks at whether the first process has ended the run
_RUN = "tltui run"  # in the store: the run's folder


class Ranks:
    """This process, number ``rank`` of ``count``, and the others.

    What is called by one process has to be called by all, in the same order. A single process calls the same and is
    left as it is. All raise RankLost where another process is gone.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count
        self._store: Any = None
        self._base: Any = None
        self._done = threading.Event()
        self._watch: threading.Thread | None = None
        self._lost = False

    @classmethod
    def join(cls) -> Ranks:
        """Meet the others that torchrun started: through Gloo, and NCCL for what lies on cards."""
        store, rank, count = next(distributed.rendezvous("env://", timeout=_PATIENCE))  # pyright: ignore[reportPrivateImportUsage]
        ranks = cls(rank, count)
        ranks._base = store
        ranks._store = PrefixStore(f"tltui attempt {rank_env.attempt()}", store)
        if count > 1:
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            distributed.init_process_group(backend, store=ranks._store, rank=rank, world_size=count, timeout=_PATIENCE)
        return ranks

    @property
    def first(self) -> bool:
        """Whether this is the process that writes to the run's folder and takes commands."""
        return self.rank == 0

    def any(self, mine: bool) -> bool:
        """Whether ``mine`` is true in any process."""
        if self.count == 1:
            return mine
        flag = torch.tensor([mine], dtype=torch.uint8)
        with self._connected():
            distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())

    def from_first(self, make: Callable[[], Value]) -> Value:
        """What ``make`` gives in the first process; it is called there alone."""
        if self.count == 1:
            return make()
        given: list[Any] = [make() if self.first else None]
        with self._connected():
            distributed.broadcast_object_list(given)
        return given[0]

    def gathered(self, mine: Value) -> list[Value]:
        """What all have, in the order of their numbers, in all of them."""
        if self.count == 1:
            return [mine]
        found: list[Any] = [None] * self.count
        with self._connected():
            distributed.all_gather_object(found, mine)
        return found

    def to_first(self, mine: Value) -> list[Value]:
        """What all have, in the order of their numbers, in the first process; nothing in the others."""
        if self.count == 1:
            return [mine]
        found: list[Any] | None = [None] * self.count if self.first else None
        with self._connected():
            distributed.gather_object(mine, found)
        return found or []

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Put the sums over all processes in place of ``tensors``, of one type and on one device, at once."""
        if self.count == 1:
            return
        whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with self._connected():
            distributed.all_reduce(whole)
        for tensor, part in zip(tensors, whole.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def stacked(self, mine: torch.Tensor) -> torch.Tensor:
        """The tensors (…) of all processes as one (count, …)."""
        if self.count == 1:
            return mine.unsqueeze(0)
        found = [torch.empty_like(mine) for _ in range(self.count)]
        with self._connected():
            distributed.all_gather(found, mine.contiguous())
        return torch.stack(found)

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """Put what the first process has in the place of ``tensors``."""
        if self.count == 1:
            return
        for tensor in tensors:
            content = tensor.detach().contiguous()  # a copy where its order of memory is another one
            with self._connected():
                distributed.broadcast(content, 0)
            tensor.detach().copy_(content)

    @property
    def run(self) -> Path | None:
        """The run's folder, where the first process named it in this life of torchrun, also before a restart."""
        return Path(self._base.get(_RUN).decode()) if self._base.check([_RUN]) else None

    @run.setter
    def run(self, path: Path) -> None:
        self._base.set(_RUN, str(path))

    def end(self, status: int) -> None:
        """Called by the first process alone, when all is done: let the others leave with exit status ``status``."""
        if self.count == 1:
            return
        give_up = time.monotonic() + (_SHORT if self._lost else _GRACE)
        with suppress(RuntimeError):  # where the store is gone, so are the others
            self._store.set("over", str(status))
            while self._store.add("left", 0) < self.count - 1 and time.monotonic() < give_up:
                time.sleep(_POLL)

    def leave_with_first(self, scratch: Path) -> None:
        """Called by the others: end this process when the first has ended the run, whatever it waits for then.

        What waits for a process that is gone would else wait for long. ``scratch`` is removed.
        """

        def watch() -> None:
            with suppress(RuntimeError):
                while not self._store.check(["over"]):
                    time.sleep(_POLL)
                self._done.wait(_GRACE / 2)
                shutil.rmtree(scratch, ignore_errors=True)
                status = int(self._store.get("over"))
                self._store.add("left", 1)
                os._exit(status)

        self._watch = threading.Thread(target=watch, daemon=True)
        self._watch.start()

    def wait_for_end(self, error: BaseException | None = None) -> None:
        """Called by the others when they are done, or failed: the first process has the last word.

        Returns only where it does not come: after ``error``, of which it learns, soon.
        """
        assert self._watch
        patience = None if error is None else _GRACE
        if isinstance(error, RankLost):
            patience = _SHORT  # who leaves in order has said so before
        elif error is not None:
            with suppress(RuntimeError):
                self._store.set("failed", f"process {self.rank} on {socket.gethostname()}: {first_line(error)}")
        self._done.set()
        self._watch.join(patience)

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
                f"a process of the run is gone ({reason}); `tltui resume` goes on from the last checkpoint"
            ) from error


ALONE = Ranks()


def tensors_of(module: nn.Module) -> list[torch.Tensor]:
    """All that makes a network's state, in one order in all processes."""
    return [*module.parameters(), *module.buffers()]
