"""Replays a run's event log, so that a resumed worker reports no step twice.

Steps after the last checkpoint are computed again without events. Settings change again at the steps at which
commands changed them. A run that failed at a non-finite loss or gradient retries its last steps with all changes
applied from the first of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from engine.runs import commands
from engine.runs import events as p

# Events that come once for each number, in ascending order, with the field that holds the number.
_COUNTED: dict[type[p.Event], str] = {
    p.Phase: "number",
    p.Step: "step",
    p.Layers: "step",
    p.Epoch: "epoch",
    p.Forgetting: "epoch",
}


@dataclass
class ReplayedLog:
    """The state of a run as its event log has it.

    - ``step``: the last step in the log.
    - ``last_replayed_step``: the last step that a resumed run computes as the log has it.
    - ``failed``: whether the run ended at a non-finite loss or gradient.
    - ``data``: the dataset as the first worker found it.
    - ``changes``: settings changed by commands, in order.
    - ``answered``: how often each command, or raw line, was answered.
    - ``began_with``: the digest of the initial weights.
    - ``forgetting``: forgetting events by epoch.
    """

    begun: bool = False
    completed: bool = False
    step: int = 0
    last_replayed_step: int = 0
    failed: bool = False
    changes: list[p.CommandApplied] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    data: p.DataReady | None = None
    model_ready: bool = False
    began_with: str = ""
    forgetting: dict[int, p.Forgetting] = field(default_factory=dict)
    warnings: set[tuple[str, str]] = field(default_factory=set)
    _reached: dict[type[p.Event], int] = field(default_factory=dict)
    _nonfinite: bool = False

    @classmethod
    def of(cls, events: Iterable[p.AnyEvent]) -> ReplayedLog:
        """Replay ``events``."""
        log = cls()
        for event in events:
            log._apply(event)
        return log

    def _apply(self, event: p.AnyEvent) -> None:
        self.begun = True
        if type(event) in _COUNTED:
            self._reached[type(event)] = getattr(event, _COUNTED[type(event)])
        match event:
            case p.Step():
                self.step = self.last_replayed_step = event.step
                self._nonfinite = event.nonfinite is not None or event.grad_norm is None
            case p.CommandApplied() | p.CommandRejected():
                self._apply_answer(event)
            case p.RunFinished():
                self.completed = event.status == "completed"
                self.failed = event.status == "failed" and self._nonfinite
            case p.Resumed():
                self._nonfinite = False
                if self.failed:
                    self.retry_from(event.step)
            case _:
                self._apply_fact(event)

    def _apply_fact(self, event: p.AnyEvent) -> None:
        match event:
            case p.DataReady():
                self.data = event
            case p.ModelReady():
                self.model_ready = True
                self.began_with = event.weights.digest
            case p.Forgetting():
                self.forgetting[event.epoch] = event
            case p.Warning():
                self.warnings.add((event.code, event.message))

    def _apply_answer(self, answer: p.CommandApplied | p.CommandRejected) -> None:
        self.answered[key(answer.command)] += 1
        if isinstance(answer, p.CommandApplied) and isinstance(answer.command, commands.Set):
            self.changes.append(answer)
            self.last_replayed_step = max(self.last_replayed_step, answer.step)

    def retry_from(self, step: int) -> None:
        """Compute the steps after ``step`` anew, with every change applied by then."""
        self.failed, self.last_replayed_step = False, step
        self.changes = [msgspec.structs.replace(change, step=min(change.step, step)) for change in self.changes]

    def contains(self, event: p.Event) -> bool:
        """Whether a resumed run has ``event`` in its log already."""
        if type(event) in _COUNTED:
            return getattr(event, _COUNTED[type(event)]) <= self._reached.get(type(event), 0)
        match event:
            case p.DataReady():
                return self.data is not None
            case p.ModelReady():
                return self.model_ready
            case p.Warning():
                return (event.code, event.message) in self.warnings
        return False

    def changes_after(self, step: int, seq: int) -> list[p.CommandApplied]:
        """Changes after a checkpoint at ``step`` that was written after event ``seq``."""
        return [c for c in self.changes if c.step > step or (c.step == step and c.seq > seq)]

    def finish_replay(self) -> None:
        """Emit every event from now on, also a warning that is in the log."""
        self.warnings.clear()


def key(command: commands.AnyCommand | str) -> str:
    """The key of a command in ``answered``: its id, or the raw line."""
    return command if isinstance(command, str) else command.id
