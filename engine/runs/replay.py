"""What a run's log tells already when an engine takes the run up again.

Steps after the last checkpoint are computed again, silently: what was told stays told, and the changes that commands
made are made again at the steps at which they were made. A run that failed at a number that was not finite tries
those steps another time, with all changes made before the first of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from engine.runs import commands
from engine.runs import events as p

# Events that come in the order of a number of theirs, each number once.
_COUNTED: dict[type[p.Event], str] = {
    p.Phase: "number",
    p.Step: "step",
    p.Layers: "step",
    p.Epoch: "epoch",
    p.Forgetting: "epoch",
}


@dataclass
class Past:
    """``step``: the last that was told; ``settled``: the last that is computed as it was told; ``failed``: whether
    numbers exploded at the last; ``changes``: settings changed by commands, in order; ``answered``: how often each
    command, or raw line, had an answer; ``began_with``: the digest of the first weights;
    ``forgetting``: what was told of it, by epoch."""

    begun: bool = False
    completed: bool = False
    step: int = 0
    settled: int = 0
    failed: bool = False
    changes: list[p.CommandApplied] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    classes: list[str] | None = None
    model_ready: bool = False
    began_with: str = ""
    forgetting: dict[int, p.Forgetting] = field(default_factory=dict)
    warnings: set[tuple[str, str]] = field(default_factory=set)
    _reached: dict[type[p.Event], int] = field(default_factory=dict)
    _exploded: bool = False

    @classmethod
    def of(cls, events: Iterable[p.AnyEvent]) -> Past:
        """The past that ``events`` tell."""
        past = cls()
        for event in events:
            past._take_in(event)
        return past

    def _take_in(self, event: p.AnyEvent) -> None:
        self.begun = True
        if type(event) in _COUNTED:
            self._reached[type(event)] = getattr(event, _COUNTED[type(event)])
        match event:
            case p.Step():
                self.step = self.settled = event.step
                self._exploded = event.nonfinite is not None or event.grad_norm is None
            case p.CommandApplied() | p.CommandRejected():
                self._take_in_answer(event)
            case p.RunFinished():
                self.completed = event.status == "completed"
                self.failed = event.status == "failed" and self._exploded
            case p.Resumed():
                self._exploded = False
                if self.failed:
                    self.try_again_from(event.step)
            case _:
                self._take_in_fact(event)

    def _take_in_fact(self, event: p.AnyEvent) -> None:
        match event:
            case p.DataReady():
                self.classes = event.classes
            case p.ModelReady():
                self.model_ready = True
                self.began_with = event.weights.digest
            case p.Forgetting():
                self.forgetting[event.epoch] = event
            case p.Warning():
                self.warnings.add((event.code, event.message))

    def _take_in_answer(self, answer: p.CommandApplied | p.CommandRejected) -> None:
        self.answered[key(answer.command)] += 1
        if isinstance(answer, p.CommandApplied) and isinstance(answer.command, commands.Set):
            self.changes.append(answer)
            self.settled = max(self.settled, answer.step)

    def try_again_from(self, step: int) -> None:
        """Let the steps after ``step`` go otherwise than they went until the run failed."""
        self.failed, self.settled = False, step
        self.changes = [msgspec.structs.replace(change, step=min(change.step, step)) for change in self.changes]

    def told(self, event: p.Event) -> bool:
        """Whether ``event`` stands in the log already, seen from a run that goes on."""
        if type(event) in _COUNTED:
            return getattr(event, _COUNTED[type(event)]) <= self._reached.get(type(event), 0)
        match event:
            case p.DataReady():
                return self.classes is not None
            case p.ModelReady():
                return self.model_ready
            case p.Warning():
                return (event.code, event.message) in self.warnings
        return False

    def changes_after(self, step: int, seq: int) -> list[p.CommandApplied]:
        """Changes that a checkpoint does not hold that was made at ``step``, when event ``seq`` was the last."""
        return [c for c in self.changes if c.step > step or (c.step == step and c.seq > seq)]

    def caught_up(self) -> None:
        """From now on all is new; also a warning that was given before."""
        self.warnings.clear()


def key(command: commands.AnyCommand | str) -> str:
    """What an answer is known by."""
    return command if isinstance(command, str) else command.id
