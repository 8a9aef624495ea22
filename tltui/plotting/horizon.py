"""How long a run will be, as far as its events tell: what progress bars and the axis along the run end at."""

from __future__ import annotations

from engine.state import RunState


def steps_per_epoch(state: RunState, total_steps: int = 0) -> float | None:
    """Steps of one epoch: counted once an epoch is over, until then from ``total_steps``, the plan if known."""
    if state.epochs:
        return state.epochs[-1].step / state.epochs[-1].epoch
    return total_steps / state.epochs_planned if total_steps and state.epochs_planned else None


def planned_steps(state: RunState, total_steps: int = 0) -> float:
    """Steps of the whole run; for one that has ended, those that it took. 0: not known yet."""
    done = state.steps[-1].step if state.steps else 0
    per_epoch = steps_per_epoch(state, total_steps)
    if state.finished is not None or per_epoch is None:
        return done if state.finished is not None else total_steps
    return max(per_epoch * state.epochs_planned, done)
