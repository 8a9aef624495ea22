"""The columns of a table of trials, for the command line and the app."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.tasks import objective
from engine.evaluation.metrics import formatted_score
from engine.experiments.sweep.events import Status, SweepListed, TrialResult
from engine.experiments.sweep.search_space import text
from tltui.text.glyphs import safe
from tltui.text.numbers import bytes, number

WIDE = 100
"""Cells; a narrower table has fewer columns."""
_VALUE, _NARROW_VALUE = 24, 12


@dataclass(frozen=True)
class Column:
    """``narrowest`` in cells."""

    heading: str
    cell: Callable[[TrialResult], str]
    right: bool = False
    narrowest: int = 0


def columns(names: Sequence[str], width: int) -> dict[str, Column]:
    """The columns by key that fit ``width`` cells; ``names`` of the settings that vary."""
    wide = width >= WIDE
    keys = [key for name in names for key in name.split(", ")]
    found = {
        "trial": Column("trial", lambda one: str(one.trial), right=True),
        "state": Column("state", lambda one: one.status, narrowest=len("completed")),
        "val": Column(
            "val", lambda one: formatted_score(one.score, one.val_accuracy), right=True, narrowest=len("88.8%")
        ),
    }
    for key in keys:
        found[key] = _of_setting(key, _short(key, keys), _VALUE if wide else _NARROW_VALUE)
    found["time"] = Column("time", _time, right=True)
    if wide:
        found["speed"] = Column(
            "images/s", lambda one: number(one.images_per_second) if one.images_per_second else "", right=True
        )
        found["memory"] = Column("memory", lambda one: bytes(one.memory) if one.memory else "", right=True)
    found["run"] = Column("run", lambda one: safe(Path(one.run).name.partition("-")[0], 8), narrowest=len("3fa2"))
    return found


def ranked(trials: Iterable[TrialResult]) -> list[TrialResult]:
    """Running trials, then completed ones by validation score, then the others."""
    places: dict[Status, int] = {"running": 0, "completed": 1}

    def place(one: TrialResult) -> tuple[int, float, int]:
        worst = math.inf if one.val_accuracy is None else -objective(one.score, one.val_accuracy)
        return places.get(one.status, 2), worst, one.trial

    return sorted(trials, key=place)


def settings_line(settings: Mapping[str, Any]) -> str:
    """Settings as --set takes them."""
    return "  ".join(f"{key}={safe(_value(value), 60)}" for key, value in settings.items())


def sweep_line(sweep: SweepListed) -> str:
    """A sweep in one line."""
    of = f" of {sweep.wanted}" if sweep.wanted else ""
    parts = [f"{sweep.ended}{of} trials ended"]
    parts += [f"{sweep.running} running"] if sweep.running else []
    parts += [f"best val {formatted_score(sweep.score, sweep.best)}"] if sweep.best is not None else []
    return f"{safe(sweep.sweep, 40)}  {', '.join(parts)}"


def _of_setting(key: str, heading: str, room: int) -> Column:
    return Column(heading, lambda one: safe(_value(one.settings.get(key)), room))


def _time(trial: TrialResult) -> str:
    if trial.status == "running":
        return f"{trial.epoch}/{trial.epochs}" if trial.epoch else ""
    return f"{trial.seconds:.1f} s" if trial.seconds else ""


def _value(value: Any) -> str:  # noqa: ANN401 (whatever a setting takes)
    return f"{value:.3g}" if isinstance(value, float) else text(value)


def _short(key: str, keys: Sequence[str]) -> str:
    leaf = key.rpartition(".")[2]
    return leaf if sum(other.endswith(f".{leaf}") for other in keys) == 1 else key
