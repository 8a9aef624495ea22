"""Several processes that train one run together: what one process does, they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import RunConfig
from engine.data.loaders import share_of
from engine.protocol import CommandApplied, Epoch, Set, Step
from engine.rundir import EventTail, RunFolder, create
from engine.state import fold_all
from tests.engine.ranks import Together
from tests.faults.lives import Life, Script


def steps(folder: RunFolder) -> list[Step]:
    return [event for event in EventTail(folder).poll() if isinstance(event, Step)]


def furthest(one: list[float], other: list[float]) -> float:
    """The largest relative difference."""
    assert len(one) == len(other)
    return max(abs(a - b) / abs(a) for a, b in zip(one, other, strict=True))


def losses(folder: RunFolder) -> list[float]:
    return [step.loss for step in steps(folder) if step.loss is not None]


DEEP = ["freeze *", "train layer3", "train layer4", "train head"]
CASES: dict[str, dict[str, Any]] = {
    "the head, from the cache": {"head": {"dropout": 0.0}},
    "dropout": {"head": {"dropout": 0.4, "hidden": [16]}},
    "frozen batch statistics": {"freeze": {"rules": DEEP, "norm_stats": "frozen"}},
    "batch statistics that move": {"freeze": {"rules": DEEP}, "head": {"dropout": 0.3}},
    "class weights": {"train": {"class_weights": "balanced", "label_smoothing": 0.1}, "freeze": {"rules": []}},
}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_take_the_steps_of_one(case: str, config: Callable[..., RunConfig], tmp_path: Path):
    wanted = config(**{**CASES[case], "train": {"epochs": 17, **CASES[case].get("train", {})}})
    alone, together = create(tmp_path / "alone", wanted), create(tmp_path / "together", wanted)
    first = Life(alone, [])
    assert Together(together).wait() == [0, 0], together.log.read_text()
    assert first.wait() == 0
    one, two = losses(alone), losses(together)
    assert len(one) >= 50
    print(case, furthest(one[:50], two[:50]), furthest(one, two))
    assert furthest(one[:50], two[:50]) < 1e-5
