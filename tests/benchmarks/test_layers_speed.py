"""What looking at the layers takes from training."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from engine.config.toml_io import from_tables
from engine.training.layer_stats import LayerStats
from engine.training.loop import fit
from tests.conftest import Sessions
from tltui.settings.demo import demo_config

HEAD_ONLY = {"freeze.rules": '["freeze *", "train head"]'}
WHOLE_RESNET = {"model.name": "resnet18", "model.weights": "none", "freeze.rules": "[]", "data.image_size": "64"}


@contextmanager
def timed(patch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Seconds of each call of what looks at layers, while a step goes on that is taken with it or without it."""
    spent: list[float] = []
    with patch.context() as inner:
        for name in ("__init__", "_record", "before_update", "after_update", "to_event"):
            inner.setattr(LayerStats, name, _timing(getattr(LayerStats, name), spent))
        yield spent


def _timing(method: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    @functools.wraps(method)
    def measured(*arguments: Any) -> Any:  # noqa: ANN401 (whatever the method takes and gives)
        began = time.perf_counter()
        found = method(*arguments)
        spent.append(time.perf_counter() - began)
        return found

    return measured


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, HEAD_ONLY, WHOLE_RESNET], ids=["demo", "head_only", "whole_resnet18"])
def test_looking_at_layers_takes_less_than_3_percent_of_training(
    settings: dict[str, str], session: Sessions, monkeypatch: pytest.MonkeyPatch
):
    """Epochs of 40 steps, after a first one that computes what is frozen."""
    demo = demo_config({"train.device": "cpu", "train.precision": "fp32", "train.epochs": "1", **settings})
    run = session(demo)
    fit(run)
    run.config = from_tables({**demo.model_dump(), "train": {**demo.train.model_dump(), "epochs": 3}})
    with timed(monkeypatch) as spent:
        began = time.perf_counter()
        fit(run)
        whole = time.perf_counter() - began
    assert spent
    share = sum(spent) / whole
    print(f"{share:.2%} of training")  # noqa: T201
    assert share < 0.03
