"""What a diagnosis says of runs that suffer from something, and that it says nothing of those that are well."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import torch

from engine.config.schema import RunConfig
from engine.config.toml_io import with_live_setting, with_setting
from engine.diagnosis.diagnose import diagnose
from engine.diagnosis.finding import Finding
from engine.errors import TrainingFailed
from engine.runs import commands
from engine.runs import events as p
from engine.runs.event_log import EventTail
from engine.runs.state import RunState, fold_all
from engine.training.loop import fit
from engine.training.validation import ValidationMetrics
from tests.conftest import Sessions, make_images

ALL = {"rules": ["train *"]}
pytestmark = pytest.mark.usefixtures("one_thread")


def of_run(sessions: Sessions, config: RunConfig) -> dict[str, Finding]:
    """Train, and diagnose from the log."""
    session = sessions(config)
    with suppress(TrainingFailed):
        fit(session)
    session.context.log.close(5)
    state = fold_all(EventTail(session.context.folder).poll())
    return {finding.case: finding for finding in diagnose(state, config)}


def told(figures: list[dict[str, float]], classes: int = 10, images: int = 400) -> RunState:
    """A run whose log tells of epochs of 40 steps with these figures."""
    state = RunState(epochs_planned=50)
    state.data = p.DataReady(
        classes=[str(label) for label in range(classes)],
        counts={"train": images, "val": images},
        class_counts={"train": [images // classes] * classes},
        skipped=[],
        seconds=1.0,
    )
    for number, one in enumerate(figures, 1):
        head = one.get("moved", 1.0)
        rate = p.Step(step=40 * number, epoch=number, loss=1.0, lr={"head": 0.01}, grad_norm=1.0, images_per_second=1.0)
        look = p.Layers(step=40 * number, epoch=number, layers={}, dead={}, stages={"head": head})
        epoch = p.Epoch(
            epoch=number,
            step=40 * number,
            train_loss=one.get("train_loss", 0.1),
            train_accuracy=one.get("train_accuracy", 0.97),
            val_loss=one.get("val_loss", 0.2),
            val_accuracy=one.get("val_accuracy", 0.95),
            val_label_rank=one.get("label_rank"),
            seconds=1.0,
            frozen_digest="",
            frozen_unchanged=True,
        )
        fold_all([rate, look, epoch], state)
    return state


def cases(state: RunState, config: RunConfig) -> list[str]:
    return [finding.case for finding in diagnose(state, config)]


def test_nothing_is_said_of_a_run_that_is_well(session: Sessions, config: Callable[..., RunConfig]):
    assert of_run(session, config(freeze=ALL, optimizer={"backbone_lr_factor": 1.0}, train={"epochs": 8})) == {}


def test_a_rate_that_is_too_low_is_found_and_ten_times_as_much_proposed(
    session: Sessions, config: Callable[..., RunConfig]
):
    found = of_run(session, config(optimizer={"lr": 1e-7}, train={"epochs": 8, "batch_size": 4}))
    assert list(found) == ["learning rate too low"]
    assert found["learning rate too low"].now is not None
    assert found["learning rate too low"].now.settings == {"optimizer.lr": 1e-6}


def test_a_rate_that_is_too_high_is_found(session: Sessions, config: Callable[..., RunConfig]):
    rough = config(freeze=ALL, optimizer={"lr": 3.0, "backbone_lr_factor": 1.0}, train={"epochs": 6})
    assert list(of_run(session, rough)) == ["learning rate too high"]


def test_so_is_one_that_makes_numbers_explode_before_an_epoch_is_done(
    session: Sessions, config: Callable[..., RunConfig]
):
    wild = config(freeze=ALL, optimizer={"name": "sgd", "lr": 100.0, "backbone_lr_factor": 100.0, "clip_norm": 0.0})
    found = of_run(session, wild)
    assert list(found) == ["learning rate too high"]
    assert (
        "nan at step" in found["learning rate too high"].sentence
        or "inf at step" in found["learning rate too high"].sentence
    )


def test_batch_norms_that_see_two_images_at_a_time_are_found_and_frozen_ones_are_not(
    session: Sessions, config: Callable[..., RunConfig]
):
    small = config(freeze=ALL, train={"batch_size": 2})
    assert of_run(session, small)["batch too small"].anew.settings == {"train.batch_size": 32}
    assert "batch too small" not in of_run(session, with_setting(small, "freeze.norm_stats", "frozen"))


def test_classes_of_few_images_that_are_missed_are_found_unless_they_weigh_more(
    session: Sessions, config: Callable[..., RunConfig], tmp_path: Path
):
    make_images(tmp_path / "images", per_class=60, names=("red",))
    make_images(tmp_path / "images", per_class=8, names=("blue", "green"))
    uneven = config(data={"path": str(tmp_path / "images")}, optimizer={"lr": 1e-3})
    found = of_run(session, uneven)
    assert found["class imbalance"].anew.settings == {"train.class_weights": "balanced"}
    assert "class imbalance" not in of_run(session, with_setting(uneven, "train.class_weights", "balanced"))


def test_overfitting_is_found_once_validation_got_worse_three_times(config: Callable[..., RunConfig]):
    train_losses, val_losses = [1.0, 0.4, 0.3, 0.1, 0.05, 0.02], [0.8, 0.6, 0.7, 0.8, 0.9, 1.0]
    figures = [
        {"train_loss": train_loss, "val_loss": val_loss, "val_accuracy": 0.8}
        for train_loss, val_loss in zip(train_losses, val_losses, strict=True)
    ]
    (found,) = diagnose(told(figures), config())
    assert found.case == "overfitting"
    assert found.now is not None
    assert found.now.settings == {"train.epochs": 7}
    assert cases(told(figures[:5]), config()) == []


def test_labels_at_chance_level_are_found_with_their_share(config: Callable[..., RunConfig]):
    noisy = {"val_accuracy": 0.7, "train_accuracy": 0.75, "label_rank": 0.5, "train_loss": 0.9, "val_loss": 1.2}
    (found,) = diagnose(told([noisy] * 4), config())
    assert found.case == "noisy labels"
    assert "as if 30% were random" in found.sentence
    assert cases(told([noisy | {"label_rank": 0.15}] * 4), config()) == []


def test_a_loss_that_no_longer_falls_is_a_plateau_while_the_rate_is_high_and_images_are_missed(
    config: Callable[..., RunConfig],
):
    flat = {"train_loss": 0.5, "train_accuracy": 0.85, "val_loss": 0.5, "val_accuracy": 0.85}
    assert cases(told([flat] * 10), config()) == ["plateau"]
    assert cases(told([flat | {"train_accuracy": 0.99, "val_accuracy": 0.96}] * 10), config()) == []


def test_a_network_that_can_not_learn_its_training_images_underfits(config: Callable[..., RunConfig]):
    poor = {"train_loss": 1.8, "train_accuracy": 0.4, "val_loss": 1.8, "val_accuracy": 0.4}
    state = told([poor] * 6)
    state.parameters = p.ParameterCounts(total=100, trainable=10, frozen=90)
    (found,) = diagnose(state, config())
    assert (found.case, found.now and found.now.settings) == ("underfitting", {"freeze.rules": ["train *"]})


def test_what_was_done_about_a_finding_has_its_time_to_work(config: Callable[..., RunConfig]):
    bad = {"train_loss": 9.0, "train_accuracy": 0.1, "val_loss": 9.0, "val_accuracy": 0.1, "moved": 20.0}
    assert cases(told([bad] * 3), config()) == ["learning rate too high"]
    state = told([bad] * 4)
    lower = p.CommandApplied(command=commands.Set(id="a", key="optimizer.lr", value=1e-3), step=120)
    assert cases(fold_all([lower], state), config()) == []


def test_steps_that_were_skipped_before_the_rate_was_lowered_no_longer_count(config: Callable[..., RunConfig]):
    state = told([{}] * 2)
    fold_all([p.Warning(seq=7, code="step_skipped", message="a gradient was not finite at step 3")], state)
    assert cases(state, config()) == ["learning rate too high"]
    lower = p.CommandApplied(seq=8, command=commands.Set(id="a", key="optimizer.lr", value=1e-3), step=40)
    assert cases(fold_all([lower], state), config()) == []


def test_every_remedy_is_made_of_settings_that_exist_and_those_for_now_can_change(config: Callable[..., RunConfig]):
    bad = {"train_loss": 9.0, "val_loss": 9.0, "moved": 20.0}
    slow = {"train_loss": 2.3, "train_accuracy": 0.1, "val_loss": 2.3, "val_accuracy": 0.1, "moved": 0.001}
    flat = {"train_loss": 0.5, "train_accuracy": 0.85, "val_loss": 0.5, "val_accuracy": 0.85}
    for figures in ([bad] * 3, [slow] * 3, [flat] * 10):
        (found,) = diagnose(told(figures), config())
        for key, value in found.anew.settings.items():
            with_setting(config(), key, value)
        for key, value in (found.now.settings if found.now else {}).items():
            with_live_setting(config(), key, value)


def test_a_log_of_an_older_engine_is_read_and_nothing_made_of_what_it_lacks(config: Callable[..., RunConfig]):
    state = told([{"val_accuracy": 0.6, "train_accuracy": 0.7}] * 4)
    for epoch in state.epochs:
        line = msgspec.json.decode(commands.encode(epoch))
        for name in ("val_balanced_accuracy", "val_label_rank", "batch_norms"):
            del line[name]
        assert p.decode_event(msgspec.json.encode(line)) == epoch
    assert cases(state, config()) == []
    assert cases(RunState(), config()) == []


def test_figures_that_no_engine_writes_fail_nothing(config: Callable[..., RunConfig]):
    wild = dict.fromkeys(("train_loss", "val_loss", "train_accuracy", "val_accuracy", "label_rank", "moved"), 1e308)
    for sign in (1, -1):
        diagnose(told([{name: sign * value for name, value in wild.items()}] * 12), config())


def test_places_of_missed_labels_are_counted_among_the_classes_that_were_not_answered():
    validation = ValidationMetrics(4, torch.device("cpu"))
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0]] * 4)
    validation.add(torch.tensor(1.0), torch.tensor(4.0), logits, torch.tensor([0, 1, 3, 3]))
    assert validation.accuracy == 0.25
    assert validation.balanced_accuracy == pytest.approx((1 + 0 + 0) / 3)
    assert validation.label_rank == pytest.approx((0 + 1 + 1) / 3)
    assert validation.loss == 1.0


def test_without_a_mistake_or_with_two_classes_there_are_no_places():
    right, two = ValidationMetrics(3, torch.device("cpu")), ValidationMetrics(2, torch.device("cpu"))
    right.add(torch.tensor(math.nan), torch.tensor(3.0), torch.eye(3), torch.arange(3))
    two.add(torch.tensor(0.5), torch.tensor(2.0), torch.eye(2), torch.tensor([1, 0]))
    assert (right.label_rank, two.label_rank, two.accuracy) == (None, None, 0.0)
    assert math.isnan(right.loss)
