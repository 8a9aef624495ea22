"""Frozen layers compute each image once, and training is the same as if they did so in every epoch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from engine.cache import folder as cache_folder
from engine.compute.precision import Precision
from engine.config.schema import RunConfig
from engine.models.split import without_prefix
from engine.runs.command_log import new_command_id, send
from engine.runs.commands import Set
from engine.runs.event_log import EventTail
from engine.runs.events import Boundary, ModelReady, Step, Warning
from engine.training.command_handler import apply_commands
from engine.training.feature_loader import FeatureLoader
from engine.training.loop import fit
from engine.training.session import Session
from tests.conftest import Engine, Sessions

HEAD_ONLY = ["freeze *", "train head"]
LAST_STAGE = ["freeze *", "train layer4", "train head"]
MIDDLE = ["freeze *", "train layer2", "train head"]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache that is empty at the start."""
    monkeypatch.setenv(cache_folder.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


class Counted(torch.nn.Module):
    """Counts the images that go through a prefix."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.images = 0

    def forward(self, *inputs: torch.Tensor) -> object:
        self.images += len(inputs[0])
        return self.inner(*inputs)


def count(run: Session) -> Counted:
    """Counts from here on."""
    prefix = run.loader.prefix
    assert prefix is not None
    prefix.chunk = 1  # else the last chunks are filled up
    counted = Counted(prefix.module)
    prefix.module = counted
    return counted


def told(run: Session, kind: type) -> list:
    return [event for event in EventTail(run.context.folder).poll() if isinstance(event, kind)]


def losses(run: Session) -> list[float]:
    return [step.loss for step in told(run, Step)]


@pytest.mark.parametrize("rules", [HEAD_ONLY, LAST_STAGE, MIDDLE])
@pytest.mark.parametrize("augment", ["none", "flip", "standard"])
def test_training_on_cached_features_equals_training_on_images(
    rules: list[str], augment: str, session: Sessions, config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
):
    wanted = config(freeze={"rules": rules}, data={"augment": augment}, train={"epochs": 3})
    kept = session(wanted)
    fit(kept)
    plain = session(wanted)
    monkeypatch.setattr("engine.training.session.split", lambda classifier, _: without_prefix(classifier, ""))
    plain.split_network()
    fit(plain)
    assert kept.boundary is not None
    assert plain.boundary is None
    assert losses(kept) == pytest.approx(losses(plain), rel=1e-4)


def test_frozen_layers_may_compute_in_bf16_while_the_head_trains_in_fp32(
    session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config())
    fp32, bf16 = (Precision(name, run.device) for name in ("fp32", "bf16"))
    context = run.context
    run.loader = FeatureLoader(
        run.data, run.classifier, run.config, fp32, bf16, context.warn, context.control.check, run.fits
    )
    run.split_network()
    batch = next(run.loader.training_batches([[0, 1, 2]], 1))
    assert {tensor.dtype for tensor in batch.inputs} == {torch.float32}
    fit(run)
    assert losses(run) == pytest.approx(losses_of_fp32(session, config), rel=0.05)


def losses_of_fp32(session: Sessions, config: Callable[..., RunConfig]) -> list[float]:
    run = session(config())
    fit(run)
    return losses(run)


def test_each_image_goes_through_the_frozen_layers_once(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(train={"epochs": 4}))
    counted = count(run)
    fit(run)
    assert counted.images == len(run.data.splits["train"]) + len(run.data.splits["val"])


def test_a_second_run_with_other_settings_computes_nothing_again(session: Sessions, config: Callable[..., RunConfig]):
    fit(session(config()))
    second = session(
        config(optimizer={"name": "sgd", "lr": 0.1}, head={"hidden": [8]}, train={"batch_size": 5, "seed": 42})
    )
    (ready,) = told(second, ModelReady)
    assert ready.cached > 0
    counted = count(second)
    fit(second)
    assert counted.images == 0


def test_features_of_other_weights_are_not_used(session: Sessions, config: Callable[..., RunConfig]):
    fit(session(config()))
    other = session(config(train={"seed": 43}))  # the backbone is random, too
    assert told(other, ModelReady)[0].cached == 0


def test_augmented_views_are_computed_once_each(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(data={"augment": "standard", "views": 2}, train={"epochs": 4, "batch_size": 24}))
    counted = count(run)
    fit(run)
    trained, val = len(run.data.splits["train"]), len(run.data.splits["val"])
    assert 2 * trained + val < counted.images < 4 * trained + val


def test_freezing_deeper_computes_from_cached_features_and_reports_the_boundary(
    session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(freeze={"rules": LAST_STAGE}, train={"epochs": 3}))
    assert run.boundary is not None
    before = run.boundary
    run.config = run.config.model_copy(update={"train": run.config.train.model_copy(update={"epochs": 1})})
    fit(run)
    run.config = run.config.model_copy(update={"train": run.config.train.model_copy(update={"epochs": 3})})
    send(run.context.folder, Set(id=new_command_id(), key="freeze.rules", value=HEAD_ONLY))
    apply_commands(run)
    counted = count(run)
    fit(run)
    assert counted.images == 0  # all came over the bridge
    assert told(run, Boundary)[-1].boundary == run.boundary != before
    assert told(run, Boundary)[-1].cached > 0


def test_unfreezing_during_training_continues_with_the_correct_inputs(
    session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(train={"epochs": 4}))
    send(run.context.folder, Set(id=new_command_id(), key="freeze.rules", value=LAST_STAGE))
    fit(run)
    steps = told(run, Step)
    assert [step.step for step in steps] == list(range(1, len(steps) + 1))
    assert set(steps[-1].lr) == {"head", "backbone"}
    assert run.freezing.verify().unchanged


def test_features_that_do_not_fit_are_computed_again_with_a_warning(
    session: Sessions, config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))
    run = session(config(freeze={"rules": MIDDLE}, data={"cache_gb": 1e-7}))
    assert "cache_too_small" in {warning.code for warning in told(run, Warning)}
    counted = count(run)
    fit(run)
    assert counted.images >= 2 * len(run.data.splits["train"])
    assert run.loader.cached_bytes == 0


def test_a_small_memory_reads_from_the_cache_and_changes_nothing(session: Sessions, config: Callable[..., RunConfig]):
    wanted = config(freeze={"rules": LAST_STAGE})
    plenty = session(wanted)
    fit(plenty)
    little = session(config(freeze={"rules": LAST_STAGE}, data={"cache_gb": 1e-5}))
    fit(little)
    assert losses(little) == losses(plenty)


def test_a_cache_that_is_damaged_while_training_costs_time_and_nothing_else(
    session: Sessions, config: Callable[..., RunConfig], own_cache: Path
):
    wanted = config(data={"cache_gb": 1e-7}, train={"epochs": 1})
    whole = session(wanted)
    fit(whole)
    damaged = session(wanted)
    for file in own_cache.glob("features/*/*.bin"):
        with file.open("r+b") as rows:
            rows.truncate(100)
    fit(damaged)
    assert losses(damaged) == pytest.approx(losses(whole), rel=1e-5)
    assert "cache_unusable" in {warning.code for warning in told(damaged, Warning)}


def test_without_disk_or_memory_features_are_computed_again(
    session: Sessions, config: Callable[..., RunConfig], own_cache: Path
):
    whole = session(config(train={"epochs": 2}))
    fit(whole)
    shutil.rmtree(own_cache)
    own_cache.write_text("no folder")
    little = session(config(data={"cache_gb": 2e-5}, train={"epochs": 2}))
    fit(little)
    assert losses(little) == pytest.approx(losses(whole), rel=1e-5)
    assert {"cache_unusable", "cache_memory_full"} <= {warning.code for warning in told(little, Warning)}


def test_two_runs_at_once_share_a_cache(engine: Engine, config: Callable[..., RunConfig]):
    runs = [engine.start(config(train={"seed": 42, "batch_size": size})) for size in (4, 6)]
    assert [process.wait(timeout=240) for _, process in runs] == [0, 0]
