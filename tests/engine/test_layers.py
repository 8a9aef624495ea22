"""Statistics of layers are correct in a running session, and measuring them changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.compute.precision import Precision
from engine.config.schema import RunConfig
from engine.process.session_setup import set_up_session
from engine.rng import random_state
from engine.runs.command_log import new_command_id, send
from engine.runs.commands import Set
from engine.runs.event_log import EventLog, EventTail
from engine.runs.events import Layers, Step, Warning
from engine.runs.replay import ReplayedLog
from engine.training.command_handler import apply_commands
from engine.training.control import Control
from engine.training.layer_stats import is_due
from engine.training.loop import build_criterion, fit
from engine.training.run_context import RunContext
from engine.training.session import Session
from engine.training.step import launch_step, read_step
from tests.conftest import Sessions

LAST_STAGE = ["freeze *", "train layer4", "train head"]
PLAIN_SGD = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 0.05, "clip_norm": 0.1}


def events(session: Session, kind: type) -> list:
    return [event for event in EventTail(session.context.folder).poll() if isinstance(event, kind)]


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def norm_below(path: str, tensors: Mapping[str, torch.Tensor]) -> float:
    """Over the parameters that a layer has itself, in double precision."""
    own = [tensor.double() for name, tensor in tensors.items() if name.rpartition(".")[0] == path]
    return math.sqrt(sum(float(tensor.square().sum()) for tensor in own))


def test_weight_change_is_measured_from_the_initial_weights(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": LAST_STAGE}))
    before = weights(run.classifier.module)
    fit(run)
    after = weights(run.classifier.module)
    last = events(run, Layers)[-1]
    assert last.step == run.step
    trained = {name.rpartition(".")[0] for name in run.freezing.trainable}
    assert last.layers.keys() == trained
    moved = {name: after[name] - before[name] for name in before}
    for path, layer in last.layers.items():
        assert layer.moved == pytest.approx(norm_below(path, moved), rel=1e-4)
        assert layer.start == pytest.approx(norm_below(path, before), rel=1e-4)
        assert layer.weight == pytest.approx(norm_below(path, after), rel=1e-4)
    of_stage = [name for name in before if name.startswith("layer4.")]
    far = torch.cat([moved[name].flatten() for name in of_stage]).norm()
    assert last.stages["layer4"] == pytest.approx(
        float(far / torch.cat([before[name].flatten() for name in of_stage]).norm()), rel=1e-4
    )
    assert last.stages.keys() == {"layer4", "head"}


def test_layers_frozen_again_have_no_gradient_and_no_update(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": LAST_STAGE}, train={"epochs": 1}))
    fit(run)
    send(run.context.folder, Set(id=new_command_id(), key="freeze.rules", value=["freeze *", "train head"]))
    send(run.context.folder, Set(id=new_command_id(), key="train.epochs", value=2))
    apply_commands(run)
    fit(run)
    thawed, frozen = (event.layers["layer4.0.conv1"] for event in events(run, Layers))
    assert thawed.gradient > 0
    assert thawed.update > 0
    assert (frozen.gradient, frozen.update) == (0.0, 0.0)
    assert frozen.moved == thawed.moved > 0


def test_gradients_are_before_clipping_and_updates_after_it(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(optimizer=PLAIN_SGD, schedule={"name": "constant"}, freeze={"rules": LAST_STAGE}))
    fit(run)
    steps = {step.step: step for step in events(run, Step)}
    looks = events(run, Layers)
    assert [look.step for look in looks] == [run.steps_per_epoch, 2 * run.steps_per_epoch]
    for look in looks:
        step = steps[look.step]
        assert step.grad_norm > 0.1
        whole = math.hypot(*(layer.gradient for layer in look.layers.values()))
        assert whole == pytest.approx(step.grad_norm, rel=1e-4)
        head = look.layers["fc"]
        assert head.update == pytest.approx(step.lr["head"] * head.gradient * 0.1 / step.grad_norm, rel=1e-3)


@pytest.mark.parametrize("parts", [None, 4])
def test_dead_units_are_counted_at_every_call_of_a_shared_activation(
    parts: int | None, session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(model={"name": "resnet18"}, freeze={"rules": LAST_STAGE}))
    run.freezing.train_mode()
    block = run.classifier.module.get_submodule("layer4.1")
    assert block.bn1.training  # its zero weight and negative bias decide whatever comes in
    with torch.no_grad():
        block.bn1.weight[:100] = 0.0
        block.bn1.bias[:100] = -1.0
    if parts:
        assert run.fits.shrink("train", 2 * parts, MemoryError()) == parts
    look = look_at(run)
    assert look.dead["layer4.1.relu"].units == 2 * 512
    assert 100 <= look.dead["layer4.1.relu"].dead < 512
    assert look.dead["layer4.0.relu"].dead < 100


def look_at(run: Session, step: int = 0) -> Layers:
    """The layers at the first batch, which counts as the last step of an epoch."""
    run.step = step or run.steps_per_epoch
    batch = next(run.loader.training_batches([list(range(8))], 1))
    result = read_step(run, launch_step(run, batch, build_criterion(run)))
    return result.layers


def test_layer_statistics_change_neither_weights_nor_random_numbers(
    session: Sessions, config: Callable[..., RunConfig]
):
    wanted = config(freeze={"rules": LAST_STAGE}, head={"dropout": 0.5, "hidden": [8]})
    ends = []
    for step in (1, 0):
        run = session(wanted)
        run.freezing.train_mode()
        looked = look_at(run, step)
        assert (looked is None) == (step == 1)
        ends.append((run.classifier.module.state_dict(), random_state(run.device)))
    (unseen, drawn), (seen, drawn_too) = ends
    assert all(torch.equal(unseen[name], seen[name]) for name in unseen)
    assert drawn == drawn_too


def test_a_resumed_run_measures_from_the_same_initial_weights(
    session: Sessions, config: Callable[..., RunConfig], tmp_path: Path
):
    run = session(config(freeze={"rules": LAST_STAGE}))
    first = dict(run.initial_weights.weights)
    fit(run)
    again = go_on(run)
    assert again.initial_weights.known
    assert again.initial_weights.weights.keys() == first.keys()
    assert all(torch.equal(again.initial_weights.weights[name], first[name]) for name in first)
    assert again.step == run.step


def go_on(run: Session) -> Session:
    """Another engine's session on the same run, from its last checkpoint."""
    past = ReplayedLog.of(EventTail(run.context.folder).poll())
    precision = Precision("fp32", torch.device("cpu"))
    torch.manual_seed(run.config.train.seed)
    folder, last = run.context.folder, run.context.folder.checkpoints / "last"
    context = RunContext(folder, EventLog(folder, past.contains), Control(folder), replayed=past)
    return set_up_session(context, run.config, precision, precision, last.resolve())


def test_a_resumed_run_warns_if_its_initial_weights_are_lost(
    session: Sessions, config: Callable[..., RunConfig], tmp_path: Path
):
    file = tmp_path / "weights.pt"
    donor = session(config())
    torch.save(donor.classifier.module.state_dict(), file)
    run = session(config(model={"weights": str(file)}, freeze={"rules": LAST_STAGE}))
    fit(run)
    file.unlink()
    again = go_on(run)
    (warning,) = [one for one in events(run, Warning) if one.code == "start_unknown"]
    assert "weights.pt: there is no such weights file" in warning.message
    again.freezing.train_mode()
    look = look_at(again)
    assert look.stages == {}
    assert {layer.moved for layer in look.layers.values()} == {None}
    assert all(layer.gradient > 0 for layer in look.layers.values())


@pytest.mark.parametrize(
    ("steps_per_epoch", "due"),
    [(1, [1, 2, 3]), (5, [5, 10, 15]), (60, [60, 120]), (80, [40, 80, 120]), (1000, [250, 500, 750, 1000])],
)
def test_layer_statistics_are_due_at_the_end_of_an_epoch_and_within_a_long_one(steps_per_epoch: int, due: list[int]):
    assert [step for step in range(1, due[-1] + 1) if is_due(step, steps_per_epoch)] == due
