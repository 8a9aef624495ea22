"""What others want of a run that several processes train: the first reads it, and all obey before the same step."""

from __future__ import annotations

from engine.runs.commands import AnyCommand
from engine.runs.stopped import Stopped
from engine.training.control import Control
from engine.training.distributed import Ranks


class SharedControl:
    """Stands for ``Control`` in each of the processes. A signal that reaches one stops all."""

    def __init__(self, control: Control, ranks: Ranks) -> None:
        self._control = control
        self._ranks = ranks

    def anything(self) -> bool:
        """Whether this process knows of a command or a signal; asks no other."""
        return self._control.anything() if self._ranks.first else self._control.signal is not None

    def commands(self) -> list[AnyCommand | str]:
        """Those that came to the first process since the last call, in all; raises Stopped in all after a signal."""
        signals = [number for number in self._ranks.gathered(self._control.signal) if number is not None]
        if signals:
            raise Stopped(f"signal {signals[0].name}")
        return self._ranks.from_first(self._control.commands)

    @property
    def refused(self) -> str:
        """Why no commands are taken, in the first process."""
        return self._control.refused if self._ranks.first else ""

    def check(self) -> None:
        """Raises Stopped in the first process if a stop is wanted; the others then leave with it."""
        if self._ranks.first:
            self._control.check()
