"""``train.on_nan = "skip"``: a step may be skipped, a run that only skips steps fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.compute.task import Criterion
from engine.config.schema import RunConfig
from engine.errors import TrainingFailed
from engine.runs.commands import Stop
from engine.runs.event_log import EventTail
from engine.runs.events import RunFinished, Warning
from engine.runs.folder import RunFolder, create
from engine.training.feature_loader import Batch
from engine.training.loop import fit
from engine.training.session import Session
from engine.training.step import LaunchedStep
from tests.conftest import Engine, Sessions
from tests.faults.lives import Life

SKIP = {"on_nan": "skip"}


def skipped(folder: RunFolder) -> int:
    """The number of warnings about skipped steps."""
    events = EventTail(folder).poll()
    return sum(isinstance(event, Warning) and event.code == "step_skipped" for event in events)


def explode_at(steps: set[int], run: Session) -> None:
    """Let the network give infinity in these training steps."""

    def spoil(layer: torch.nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output * math.inf if layer.training and run.step in steps else output

    run.classifier.module.get_submodule("layer4").register_forward_hook(spoil)


def test_a_run_that_only_skips_steps_fails_with_advice(engine: Engine, config: Callable[..., RunConfig]):
    wanted = config(
        optimizer={"name": "sgd", "lr": 100.0, "clip_norm": 0.0, "backbone_lr_factor": 100.0},
        freeze={"rules": []},
        schedule={"name": "constant"},
        train={**SKIP, "epochs": 12},
    )
    folder, state, status = engine.run(wanted)
    (finished,) = [event for event in EventTail(folder).poll() if isinstance(event, RunFinished)]
    assert (status, finished.status, state.status) == (1, "failed", "failed")
    assert "were skipped" in finished.reason
    assert "lower optimizer.lr (it is 100) or set optimizer.clip_norm = 1.0" in finished.reason
    assert "\n" not in finished.reason


def test_ten_consecutive_skipped_steps_end_a_run(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": [], "norm_stats": "frozen"}, train={**SKIP, "batch_size": 1, "epochs": 1}))
    explode_at(set(range(5, 30)), run)
    with pytest.raises(
        TrainingFailed, match=r"10 consecutive steps were skipped: .* at step 14, .*lower optimizer\.lr"
    ):
        fit(run)
    assert skipped(run.context.folder) == 9
    assert all(torch.isfinite(tensor).all() for tensor in run.classifier.module.state_dict().values())


def test_a_finite_step_resets_the_count_of_skipped_steps(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": [], "norm_stats": "frozen"}, train={**SKIP, "batch_size": 1, "epochs": 1}))
    explode_at(set(range(1, 25)) - {9, 18}, run)
    fit(run)
    assert skipped(run.context.folder) == 22


def test_an_epoch_without_a_finite_step_ends_a_run(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": [], "norm_stats": "frozen"}, train={**SKIP, "epochs": 3}))
    explode_at({2, 4, 5, 6}, run)
    with pytest.raises(TrainingFailed, match=r"all 3 steps of epoch 2 were skipped; lower optimizer\.lr"):
        fit(run)
    assert (run.epoch, skipped(run.context.folder)) == (1, 4)


def test_skipped_steps_are_counted_across_a_resume(tmp_path: Path, config: Callable[..., RunConfig]):
    folder = create(tmp_path / "runs", config(train={**SKIP, "batch_size": 1, "epochs": 2}))
    assert Life(folder, [(9, Stop(id="stop"))], fault=explode_after_step_3).wait() == 130
    assert Life(folder, [], fault=explode_after_step_3).wait() == 1
    finished = [event for event in EventTail(folder).poll() if isinstance(event, RunFinished)][-1]
    assert "10 consecutive steps were skipped" in finished.reason
    assert "at step 13" in finished.reason


def explode_after_step_3(_folder: RunFolder) -> None:
    from engine.training import loop

    launch_step = loop.launch_step

    def overflowing(session: Session, batch: Batch, criterion: Criterion) -> LaunchedStep:
        scale = math.inf if session.step > 3 else 1.0
        return launch_step(session, Batch(tuple(tensor * scale for tensor in batch.inputs), batch.labels), criterion)

    loop.launch_step = overflowing


def test_gradients_that_overflow_at_every_scale_of_the_loss_end_a_run(
    session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(freeze={"rules": [], "norm_stats": "frozen"}, train={**SKIP, "batch_size": 1, "epochs": 4}))
    run.scaler = torch.amp.GradScaler("cpu", enabled=True)
    layer = run.classifier.module.get_submodule("layer3.0.conv2")
    layer.register_full_backward_hook(lambda _layer, inputs, _outputs: tuple(g * math.inf for g in inputs))
    with pytest.raises(TrainingFailed, match="10 consecutive steps were skipped: a gradient was not finite"):
        fit(run)
    assert run.step < 24 * 2


def test_gradients_may_overflow_while_the_loss_scale_is_searched(session: Sessions, config: Callable[..., RunConfig]):
    run = session(
        config(freeze={"rules": [], "norm_stats": "frozen"}, train={"on_nan": "stop", "batch_size": 1, "epochs": 1})
    )
    run.scaler = torch.amp.GradScaler("cpu", enabled=True)
    layer = run.classifier.module.get_submodule("layer3.0.conv2")

    def overflow(_layer: object, inputs: Any, _outputs: object) -> Any:  # noqa: ANN401 (PyTorch's own union)
        return tuple(g * math.inf for g in inputs) if run.scaler.get_scale() > 2.0**4 else inputs

    layer.register_full_backward_hook(overflow)
    fit(run)
    assert run.scaler.get_scale() == 2.0**4
