"""How long a run will be, as far as its events tell: what progress bars and the axis along the run end at."""

from __future__ import annotations

from engine.runs.state import RunState


def steps_per_epoch(state: RunState) -> int:
    """Steps of one epoch; 0: not known before the model is ready."""
    return state.model.steps_per_epoch if state.model else 0


def planned_steps(state: RunState) -> int:
    """Steps of the whole run; for one that has ended, those that it took. 0: not known yet."""
    done = state.steps.last.step if state.steps.last else 0
    if state.finished is not None:
        return done
    return max(steps_per_epoch(state) * state.epochs_planned, done)


def seconds_left(state: RunState) -> float | None:
    """Seconds from the last step until the last epoch is over, None if that can't be said yet."""
    planned = planned_steps(state)
    recent = state.steps.recent[-50:]
    if not planned or len(recent) < 2:
        return None
    last = recent[-1]
    if state.epochs:  # with its validation, which steps alone don't tell
        epoch = state.epochs[-1]
        per_step = epoch.seconds * epoch.epoch / epoch.step
    else:
        per_step = (last.time - recent[0].time) / (len(recent) - 1)
    return (planned - last.step) * per_step
