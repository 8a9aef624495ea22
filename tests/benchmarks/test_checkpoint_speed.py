"""What saving takes from training."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from engine.config.schema import RunConfig
from engine.training.loop import fit
from engine.training.session import Session

Sessions = Callable[[RunConfig], Session]


@pytest.mark.slow
def test_saving_stops_training_for_less_than_5_percent_of_its_time(
    session: Sessions, config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
):
    """A network of 45 MB with all layers in training, and epochs of no more than 3 steps."""
    settings = {"model": {"name": "resnet18", "weights": "none"}, "freeze": {"rules": []}}
    run = session(config(**settings, data={"image_size": 96}, train={"epochs": 12}))
    stopped = 0.0
    from engine.training import loop

    save = loop.save_checkpoint

    def timed(session: Session, *, best: bool) -> None:
        nonlocal stopped
        began = time.perf_counter()
        save(session, best=best)
        stopped += time.perf_counter() - began

    monkeypatch.setattr(loop, "save_checkpoint", timed)
    began = time.perf_counter()
    fit(run)
    whole = time.perf_counter() - began
    assert stopped / whole < 0.05, f"stopped for {stopped:.2f} s of {whole:.1f} s"
