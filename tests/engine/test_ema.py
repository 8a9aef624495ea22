"""The average of the weights: what is averaged, validated, evaluated and kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file
from timm.utils.model_ema import ModelEmaV3

from engine.config.schema import RunConfig
from engine.evaluation.load_run import load_trained_run
from engine.process.run import evaluate_best
from engine.runs.event_log import EventTail
from engine.runs.events import Evaluated
from engine.runs.state import best_epoch
from engine.training.loop import build_criterion, fit
from engine.training.step import launch_step, read_step
from tests.conftest import Sessions

DEEP = ["freeze *", "train layer4", "train head"]


def test_the_average_is_that_of_timm_and_frozen_tensors_have_none(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": DEEP}, train={"ema": 0.7}))
    expected = ModelEmaV3(run.classifier.module, decay=0.7, use_warmup=True)
    criterion, members = build_criterion(run), run.data.splits["train"]
    for batch in run.loader.training_batches([members[at : at + 4] for at in range(0, 24, 4)], 1):
        run.step += 1
        assert read_step(run, launch_step(run, batch, criterion)).finite
        expected.update(run.classifier.module, run.step)
    state = expected.module.state_dict()
    assert run.average.values.keys() >= run.freezing.trainable.keys()
    assert run.average.values.keys().isdisjoint(run.freezing.frozen())
    for name, value in run.average.values.items():
        torch.testing.assert_close(value, state[name], rtol=1e-5, atol=1e-6)
    assert run.freezing.verify().unchanged


def test_the_average_is_validated_and_is_what_the_best_checkpoint_holds(
    session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(freeze={"rules": DEEP}, optimizer={"lr": 0.1}, train={"ema": 0.9, "epochs": 2}))
    fit(run)
    best = best_epoch(run.epochs)
    evaluate_best(run)
    run.context.log.sync()
    evaluated = next(event for event in EventTail(run.context.folder).poll() if isinstance(event, Evaluated))
    assert best is not None
    assert evaluated.log_loss == pytest.approx(best.val_loss, rel=1e-4)
    folder = run.context.folder.checkpoints / "best"
    kept, trained = load_file(folder / "model.safetensors"), load_file(folder / "trained.safetensors")
    assert any(not torch.equal(kept[name], trained[name]) for name in trained)
    loaded = load_trained_run(run.context.folder).classifier.module.state_dict()
    assert all(torch.equal(loaded[name], kept[name]) for name in kept)
    assert all(epoch.frozen_unchanged for epoch in run.epochs)


def test_a_layer_that_is_frozen_leaves_the_average_and_one_that_trains_joins_it(
    session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(freeze={"rules": DEEP}, train={"ema": 0.9, "epochs": 1}))
    fit(run)
    run.apply_freeze_plan(["freeze *", "train layer3", "train head"])
    names = run.average.values.keys()
    assert any(name.startswith("layer3.") for name in names)
    assert not any(name.startswith("layer4.") for name in names)
    trainable = run.freezing.trainable
    assert all(
        torch.equal(run.average.values[name], trainable[name]) for name in trainable if name.startswith("layer3.")
    )
