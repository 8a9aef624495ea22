"""Frozen means frozen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from engine.config.schema import RunConfig
from engine.config.toml_io import with_setting
from engine.models.freezing import Freezing
from engine.runs.command_log import new_command_id, send
from engine.runs.commands import Set
from engine.runs.event_log import EventTail
from engine.runs.events import CommandApplied, CommandRejected, Epoch, Warning
from engine.training.command_handler import apply_commands
from engine.training.loop import fit
from engine.training.optimizers import named_state
from engine.training.session import Session
from tests.conftest import Sessions

HEAD_ONLY = ["freeze *", "train head"]
LAST_STAGE = ["freeze *", "train layer4", "train head"]


def tensors(session: Session) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in session.classifier.module.state_dict().items()}


def moved(before: dict[str, torch.Tensor], session: Session) -> set[str]:
    after = session.classifier.module.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def train_on(session: Session, epochs: int) -> None:
    session.config = with_setting(session.config, "train.epochs", session.epoch + epochs)
    fit(session)


def change_plan(session: Session, rules: list[str]) -> CommandApplied | CommandRejected:
    """By command, as a user does; it takes effect when training goes on."""
    send(session.context.folder, Set(id=new_command_id(), key="freeze.rules", value=rules))
    apply_commands(session)
    *_, last = [e for e in EventTail(session.context.folder).poll() if isinstance(e, CommandApplied | CommandRejected)]
    return last


HARD = {"weight_decay": 0.5, "momentum": 0.9, "lr": 0.05}


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop"])
def test_frozen_weights_and_batch_statistics_do_not_move(
    optimizer: str, session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(optimizer={**HARD, "name": optimizer}, freeze={"rules": LAST_STAGE}))
    before = tensors(run)
    train_on(run, 3)
    changed = moved(before, run)
    assert changed
    assert {name.split(".")[0] for name in changed} == {"layer4", "fc"}
    assert any("running_mean" in name for name in changed)  # of layers that train, they follow


@pytest.mark.parametrize(
    ("rule", "first"), [("train *.bias", "conv1.1.bias"), ("train norms", "conv1.1.weight")], ids=["biases", "norms"]
)
def test_rules_over_parameters_train_these_alone_and_end_the_prefix_at_the_first(
    rule: str, first: str, session: Sessions, config: Callable[..., RunConfig]
):
    rules = ["freeze *", rule, "train head"]
    run = session(config(optimizer=HARD, freeze={"rules": rules, "norm_stats": "frozen"}))
    assert run.boundary == "conv1.0", "what comes before the first of them is computed once"
    layers = dict(run.classifier.module.named_modules())
    expected = {
        name
        for name, _ in run.classifier.module.named_parameters()
        if name.startswith("fc.")
        or (
            name.endswith(".bias")
            if "bias" in rule
            else isinstance(layers[name.rpartition(".")[0]], torch.nn.BatchNorm2d)
        )
    }
    assert set(run.freezing.trainable) == expected
    before = tensors(run)
    train_on(run, 2)
    assert moved(before, run) <= expected
    assert {"fc.weight", first} <= moved(before, run)
    assert {name for group in run.optimizer.param_groups for name in group["names"]} == expected
    assert run.freezing.verify().unchanged


def test_batch_statistics_can_be_kept_where_layers_train(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": LAST_STAGE, "norm_stats": "frozen"}))
    before = tensors(run)
    train_on(run, 2)
    assert not any("running_" in name or "num_batches" in name for name in moved(before, run))
    assert any("bn" in name for name in moved(before, run))


def test_what_was_trained_and_is_frozen_again_stands_still_at_once(session: Sessions, config: Callable[..., RunConfig]):
    """Momentum left over and weight decay are what moves such layers in other tools."""
    run = session(config(optimizer={**HARD, "name": "sgd"}, freeze={"rules": LAST_STAGE}))
    train_on(run, 1)
    change_plan(run, HEAD_ONLY)
    before = tensors(run)
    train_on(run, 2)
    assert moved(before, run) == {"fc.weight", "fc.bias"}


def test_the_optimizer_holds_only_what_trains(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": HEAD_ONLY}))
    for rules in (LAST_STAGE, HEAD_ONLY, ["freeze *", "train layer1.0.conv1", "train head"]):
        change_plan(run, rules)
        held = {name for group in run.optimizer.param_groups for name in group["names"]}
        assert held == set(run.freezing.trainable)
        assert {id(p) for group in run.optimizer.param_groups for p in group["params"]} == {
            id(p) for p in run.classifier.module.parameters() if p.requires_grad
        }


def test_a_change_keeps_the_state_of_what_stays_and_gives_back_that_of_what_returns(
    session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(freeze={"rules": LAST_STAGE}))
    train_on(run, 1)
    first = {name: state["exp_avg"].clone() for name, state in named_state(run.optimizer).items()}
    change_plan(run, HEAD_ONLY)
    assert all(torch.equal(state["exp_avg"], first[name]) for name, state in named_state(run.optimizer).items())
    train_on(run, 1)
    change_plan(run, ["freeze *", "train layer3", "train layer4", "train head"])
    now = named_state(run.optimizer)
    returned = [name for name in now if name.startswith("layer4")]
    assert returned
    assert all(torch.equal(now[name]["exp_avg"], first[name]) for name in returned)
    assert not torch.equal(now["fc.weight"]["exp_avg"], first["fc.weight"])  # it trained on meanwhile
    assert not any(name.startswith("layer3") for name in now)  # new, so it starts fresh


def test_a_change_takes_effect_at_the_next_step(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": HEAD_ONLY}))
    train_on(run, 1)
    answer = change_plan(run, LAST_STAGE)
    assert isinstance(answer, CommandApplied)
    assert answer.step == run.step
    assert answer.parameters == run.freezing.counts()
    before = tensors(run)
    train_on(run, 1)
    assert any(name.startswith("layer4") for name in moved(before, run))


@pytest.mark.parametrize("rules", [["freeze *"], ["freeze *", "train layr4"], ["thaw *"], "train head", [1]])
def test_a_plan_that_can_not_be_used_is_refused_and_changes_nothing(
    rules: object, session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(freeze={"rules": LAST_STAGE}))
    trainable, optimizer = set(run.freezing.trainable), run.optimizer
    answer = change_plan(run, rules)  # type: ignore[arg-type]
    assert isinstance(answer, CommandRejected)
    assert answer.reason
    assert set(run.freezing.trainable) == trainable
    assert run.optimizer is optimizer
    assert run.config.freeze.rules == LAST_STAGE


def test_every_epoch_carries_a_digest_and_proves_that_nothing_changed(
    session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(freeze={"rules": LAST_STAGE}))
    train_on(run, 3)
    epochs = [event for event in EventTail(run.context.folder).poll() if isinstance(event, Epoch)]
    assert len({epoch.frozen_digest for epoch in epochs}) == 1
    assert all(epoch.frozen_unchanged for epoch in epochs)
    proof = run.freezing.verify()
    state = run.classifier.module.state_dict()
    frozen = [name for name in state if not name.startswith(("layer4", "fc"))]
    assert (proof.tensors, proof.checks, proof.unchanged) == (len(frozen), 4, True)


@pytest.mark.parametrize("name", ["conv1.0.weight", "bn1.running_var", "layer1.0.bn1.bias"])
def test_the_proof_notices_a_single_bit(name: str, session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": LAST_STAGE}))
    digest = run.freezing.verify().digest
    bits = run.classifier.module.state_dict()[name].view(torch.int32)
    first = (0,) * bits.ndim
    bits[first] ^= 1
    proof = run.freezing.verify()
    assert not proof.unchanged
    assert proof.digest != digest
    bits[first] ^= 1
    assert not run.freezing.verify().unchanged  # it did change once, and that stays known


def test_dropout_rests_inside_a_frozen_subtree_and_acts_beside_layers_that_train():
    module = torch.nn.Sequential()
    for name in ("frozen", "trained"):
        module.add_module(name, torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5)))
    freezing = Freezing(module, ["trained"], "follow")
    freezing.apply(["freeze *", "train trained"])
    module.train()
    freezing.train_mode()
    assert not module.get_submodule("frozen.1").training
    assert module.get_submodule("trained.1").training


def test_batch_statistics_without_parameters_follow_their_own_rule():
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4, affine=False), torch.nn.Linear(4, 2))
    freezing = Freezing(module, ["2"], "follow")
    freezing.apply(["freeze *", "train 2"])
    freezing.train_mode()
    assert not module[1].training
    freezing.apply(["freeze *", "train 1", "train 2"])
    freezing.train_mode()
    assert module[1].training


def test_a_frozen_new_head_is_pointed_out(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": ["freeze *", "train layer4"]}))
    codes = [event.code for event in EventTail(run.context.folder).poll() if isinstance(event, Warning)]
    assert "head_frozen" in codes
