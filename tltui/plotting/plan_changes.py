"""Where a run's freeze plan changed: the phases of its recipe, and commands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.runs import events as p
from engine.runs.state import RunState, changes_of_settings, rules_set
from tltui.plotting.eta import steps_per_epoch
from tltui.plotting.phase_bands import PhaseBand


@dataclass(frozen=True)
class PlanChange:
    """A freeze plan that applies from the step after ``step``.

    ``rules`` are those that the plan before did not have. ``phase`` is the recipe's, 0 for a change by command.
    """

    step: int
    rules: str
    phase: int = 0


def plan_changes(state: RunState) -> list[PlanChange]:
    """The changes of the freeze plan and the beginnings of the recipe's phases, by step."""
    found: list[PlanChange] = []
    before = ["freeze *"] if state.phases else state.model.rules if state.model else []
    for event in changes_of_settings(state):
        rules = event.rules if isinstance(event, p.Phase) else rules_set(event)
        if rules is not None:
            added = [rule for rule in rules if rule not in before] or rules[-1:] or ["train *"]
            found.append(PlanChange(event.step, ", ".join(added), event.number if isinstance(event, p.Phase) else 0))
            before = rules
    return found


def phase_bands(state: RunState, changes: Iterable[PlanChange]) -> Iterator[PhaseBand]:
    """The steps of each phase of the recipe that has begun; the last one as long as planned."""
    begun = [change for change in changes if change.phase]
    per_epoch = steps_per_epoch(state)
    for at, (change, event) in enumerate(zip(begun, state.phases, strict=True)):
        planned = math.inf if change.phase == event.phases else change.step + event.epochs * per_epoch
        end = begun[at + 1].step if at + 1 < len(begun) else planned
        yield PhaseBand(change.step, end, change.phase, change.rules)
