"""How long things take: the steps of a run, the seconds that are left of a run or of any activity with a count."""

from __future__ import annotations

import time

from engine.runs.state import RunState

_RECENT_STEPS = 50  # whose pace counts before the first epoch has ended


def steps_per_epoch(state: RunState) -> int:
    """Steps of one epoch; 0 before the model is ready."""
    return state.model.steps_per_epoch if state.model else 0


def planned_steps(state: RunState) -> int:
    """Steps of the whole run; those that it took once it has ended. 0 while unknown."""
    done = state.steps.last.step if state.steps.last else 0
    if state.finished is not None:
        return done
    return max(steps_per_epoch(state) * state.epochs_planned, done)


def seconds_left(state: RunState) -> float | None:
    """Seconds from the last step to the end of the last epoch, None while unknown."""
    planned = planned_steps(state)
    recent = state.steps.recent[-_RECENT_STEPS:]
    if not planned or len(recent) < 2:
        return None
    last = recent[-1]
    if state.epochs:  # includes validation, which steps alone do not
        epoch = state.epochs[-1]
        per_step = epoch.seconds * epoch.epoch / epoch.step
    else:
        per_step = (last.time - recent[0].time) / (len(recent) - 1)
    return (planned - last.step) * per_step


class ActivityClock:
    """Estimates the seconds left of one activity after another from the time that its items took so far."""

    def __init__(self) -> None:
        self._activity = ""
        self._began = 0.0
        self._first = 0

    def seconds_left(self, activity: str, done: int, total: int) -> float | None:
        """Seconds until ``total`` items are done; None before a second report of ``activity`` and at its end."""
        now = time.monotonic()
        if activity != self._activity or done < self._first:
            self._activity, self._began, self._first = activity, now, done
        since = done - self._first
        return (now - self._began) / since * (total - done) if since and done < total else None
