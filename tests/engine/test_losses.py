"""The losses of classification: what they equal, and that runs train with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from engine.compute.loss import focal_sum
from engine.compute.task import open_criterion
from engine.config.losses import LOSSES
from engine.config.schema import RunConfig, TrainConfig
from engine.config.tasks import TASKS, TaskSpec
from engine.config.toml_io import from_tables
from engine.errors import InputError
from tests.conftest import Sessions

LOGITS = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) * 3
CLASSES = torch.tensor([0, 1, 2, 0, 1, 0, 0, 2])
SINGLE, SEVERAL = (TaskSpec(task, ["a", "b", "c"]) for task in ("single", "multilabel"))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_a_class_and_its_probability_of_one_give_the_same_loss(loss: str, class_weights: str, smoothing: float):
    train = TrainConfig.model_validate({"loss": loss, "class_weights": class_weights, "label_smoothing": smoothing})
    soft = functional.one_hot(CLASSES).float()
    of_class, of_probabilities = (open_criterion(SINGLE, train, targets, 0.0) for targets in (CLASSES, soft))
    assert torch.allclose(of_class(LOGITS, CLASSES), of_probabilities(LOGITS, soft))
    assert torch.allclose(of_class.weight(CLASSES), of_probabilities.weight(soft))
    assert of_class.correct(LOGITS, CLASSES) == of_probabilities.correct(LOGITS, soft)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("spec", [SINGLE, SEVERAL], ids=lambda spec: spec.task)
def test_focal_loss_without_gamma_is_cross_entropy(spec: TaskSpec, class_weights: str, smoothing: float):
    settings = {"class_weights": class_weights, "label_smoothing": smoothing, "focal_gamma": 0.0}
    targets = functional.one_hot(CLASSES).float()
    plain, focal = (
        open_criterion(spec, TrainConfig.model_validate({**settings, "loss": loss}), targets, 0.0)(LOGITS, targets)
        for loss in ("cross_entropy", "focal")
    )
    assert torch.allclose(plain, focal)


def test_binary_focal_loss_is_that_of_torchvision():
    targets = functional.one_hot(CLASSES).float()
    found = open_criterion(SEVERAL, TrainConfig(loss="focal", focal_gamma=1.5), targets, 0.0)(LOGITS, targets)
    assert torch.allclose(found, sigmoid_focal_loss(LOGITS, targets, alpha=-1, gamma=1.5, reduction="mean"))


def test_focal_loss_of_a_class_follows_its_definition():
    probability = LOGITS.softmax(1)[range(8), CLASSES]
    expected = -((1 - probability) ** 2 * probability.log()).sum()
    assert torch.allclose(focal_sum(LOGITS, CLASSES, None, 0.0, gamma=2.0), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_certain_prediction_has_a_finite_gradient(gamma: float):
    logits = torch.tensor([[80.0, -80.0]], requires_grad=True)
    (right, wrong) = (focal_sum(logits, torch.tensor([at]), None, 0.0, gamma=gamma) for at in (0, 1))
    (right + wrong).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert right == 0


def test_every_loss_of_a_task_is_described():
    assert {name for task in TASKS.values() for name in task.losses} == set(LOSSES)


def test_a_loss_of_another_task_is_refused_before_images_are_decoded(
    monkeypatch: pytest.MonkeyPatch, session: Sessions, config: Callable[..., RunConfig]
):
    monkeypatch.setitem(LOSSES, "squared", LOSSES["focal"])
    with pytest.raises(InputError, match=r'train\.loss = "squared" is no loss for data\.task = "multilabel"; choose'):
        from_tables({"data": {"source": "digits", "task": "multilabel"}, "train": {"loss": "squared"}})
    with pytest.raises(InputError, match=r'"squared" is no loss for data\.task = "single"'):
        session(config(train={"loss": "squared"}))
