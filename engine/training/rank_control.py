"""Commands and signals of a run with several processes: all processes apply them before the same step."""

from __future__ import annotations

from engine.runs.commands import AnyCommand
from engine.runs.stopped import Stopped
from engine.training.control import Control
from engine.training.distributed import Ranks


class RankControl:
    """Stands in for ``Control`` in each process. The first process reads commands. A signal to any stops all."""

    def __init__(self, control: Control, ranks: Ranks) -> None:
        self._control = control
        self._ranks = ranks

    def has_pending(self) -> bool:
        """Whether a command or a signal waits in this process. Does not communicate."""
        return self._control.has_pending() if self._ranks.is_main else self._control.signal is not None

    def take_commands(self) -> list[AnyCommand | str]:
        """The commands that the first process received since the last call. Raises Stopped in all after a signal."""
        signals = [number for number in self._ranks.all_gather(self._control.signal) if number is not None]
        if signals:
            raise Stopped(f"signal {signals[0].name}")
        return self._ranks.broadcast_value(self._control.take_commands)

    @property
    def refused(self) -> str:
        """Why commands are refused, in the first process; "" if they are not."""
        return self._control.refused if self._ranks.is_main else ""

    def check(self) -> None:
        """Raise Stopped in the first process if a stop is requested. The others then leave with it."""
        if self._ranks.is_main:
            self._control.check()
