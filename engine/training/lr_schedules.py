"""Learning-rate schedules: pure functions of the step and the scores so far.

So a command can lengthen a running run, and a resumed run needs no state of the schedule.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.config.schedules import SCHEDULES
from engine.config.schema import ScheduleConfig


def factor(
    config: ScheduleConfig, step: int, steps_per_epoch: int, epochs: int, scores: Sequence[float | None] = ()
) -> float:
    """The factor in 0 … 1 of the learning rate at ``step``, counted from 0.

    Step, ``epochs`` and ``scores`` (of the epochs so far, higher is better) are those of the run, or of one phase of
    its recipe.
    """
    total = max(steps_per_epoch * epochs, 1)
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    position = min((step - warmup) / max(total - warmup, 1), 1.0)
    entry = SCHEDULES[config.name]
    settings = {name: getattr(config, name) for name in entry.settings}
    return entry.factor(position, **settings, **({"scores": scores} if entry.uses_scores else {}))
