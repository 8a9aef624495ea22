"""Training on mixed images and targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.cache.folder import CACHE
from engine.config.schema import RunConfig, TrainConfig
from engine.data.samplers import epoch_batches
from engine.errors import InputError
from engine.runs.event_log import EventTail
from engine.runs.events import Warning
from engine.training.loop import fit
from engine.training.mixing import Mixing
from tests.conftest import Sessions
from tests.engine.made_tables import make_tables, table_config

LABELS = torch.tensor([0, 1, 2, 1])


def flat_images() -> torch.Tensor:
    """An image per number: 0, 1, 2, 3 everywhere."""
    return torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16).contiguous()


def test_mixup_is_the_weighted_mean_of_images_and_targets():
    images, targets = Mixing(TrainConfig(mixup=1.0), 3)(flat_images(), LABELS, (1, 0, 0))
    share = targets[1, 1].item()  # of the image itself; the rest is its neighbour's
    assert 0 < share < 1
    assert targets[1].tolist() == pytest.approx([1 - share, share, 0])
    assert images[1].unique().item() == pytest.approx(share * 1 + (1 - share) * 0)


def test_cutmix_pastes_as_much_of_the_other_image_as_its_target_counts():
    images, targets = Mixing(TrainConfig(cutmix=1.0), 3)(flat_images(), LABELS, (1, 0, 0))
    assert set(images[1].unique().tolist()) <= {0.0, 1.0}
    assert targets[1, 1].item() == pytest.approx(images[1].mean().item())
    assert 0 < targets[1, 1] < 1


def test_a_mixture_depends_on_seed_and_position_alone():
    def mixed(seed: int, *position: int) -> torch.Tensor:
        torch.rand(1)
        return Mixing(TrainConfig(mixup=1.0, cutmix=1.0, seed=seed), 3)(flat_images(), LABELS, position)[0]

    assert torch.equal(mixed(1, 2, 3, 0), mixed(1, 2, 3, 0))
    others = [mixed(1, 2, 3, 1), mixed(1, 2, 4, 0), mixed(1, 3, 3, 0), mixed(2, 2, 3, 0)]
    assert not any(torch.equal(mixed(1, 2, 3, 0), other) for other in others)


def test_frozen_layers_see_mixed_images_and_validation_keeps_its_cache(
    session: Sessions, config: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))  # without the features of other tests
    run = session(config(train={"mixup": 0.4, "cutmix": 1.0}))
    batches = epoch_batches(run.data, run.config.train, 1)
    batch = next(iter(run.loader.training_batches(batches, 1)))
    images = next(iter(run.loader.eval_images(batches[0], 8)))
    mixed, targets = Mixing(run.config.train, 3)(images, run.data.targets[batches[0]], (1, 0, 0))
    module = run.classifier.module.eval()
    with torch.no_grad():
        torch.testing.assert_close(run.split.suffix_eval(*batch.inputs), module(mixed), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(batch.labels, targets)
    fit(run)
    feature = run.loader.cached_bytes / len(run.data.splits["val"])
    assert feature == batch.inputs[0][0].numel() * 4, "of validation images alone"
    (warning,) = [
        event
        for event in EventTail(run.context.folder).poll()
        if isinstance(event, Warning) and event.code == "not_cut"
    ]
    assert "train.mixup mixes training images before them" in warning.message
    assert run.epochs[-1].train_loss is not None


def test_several_labels_are_mixed_too(session: Sessions, tmp_path: Path):
    run = session(table_config(make_tables(tmp_path), "multilabel", train={"cutmix": 1.0, "epochs": 1}))
    batch = next(iter(run.loader.training_batches(epoch_batches(run.data, run.config.train, 1), 1)))
    assert ((batch.labels > 0) & (batch.labels < 1)).any()
    fit(run)
    assert run.epochs[-1].train_loss is not None


def test_a_task_without_soft_targets_is_refused(config: Callable[..., RunConfig]):
    with pytest.raises(
        InputError, match=r'train.mixup means nothing for data.task = "regression"; set train.mixup = 0'
    ):
        config(data={"task": "regression"}, train={"mixup": 0.2})
