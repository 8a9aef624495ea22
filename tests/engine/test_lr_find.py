"""The learning-rate range test: what it reads off a curve, and that it leaves no trace."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np
import pytest
import torch

from engine.config.schema import RunConfig
from engine.experiments.lr_range_test.curve import RATES, Curve, RangeTestResult, RangeTestStep, suggest_rate
from engine.experiments.lr_range_test.range_test import SWEEPS, lr_range_test
from engine.experiments.lr_range_test.rollback import trial
from engine.experiments.server.json_lines import RatesLine
from engine.rng import random_state
from engine.runs.stopped import Stopped
from engine.training import optimizers
from engine.training.loop import build_criterion, fit, train_batches
from engine.training.session import Session
from tests.conftest import Sessions

ALL_TRAIN = {"rules": []}


def everything(session: Session) -> dict[str, object]:
    """All that a step of training may move, as it is now."""
    return {
        "weights": {name: t.clone() for name, t in session.classifier.module.state_dict().items()},
        "optimizer": (id(session.optimizer), optimizers.cloned(optimizers.named_state(session.optimizer))),
        "scaler": session.scaler.state_dict(),
        "random": msgspec.json.encode(random_state(session.device)),
        "steps": (session.step, session.epoch, session.config),
        "modes": [layer.training for layer in session.classifier.module.modules()],
        "rates": optimizers.learning_rates(session.optimizer),
    }


def same(one: object, other: object) -> bool:
    """Equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, tuple):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_test_leaves_the_session_as_it_was_and_the_run_is_the_same_with_and_without_it(
    session: Sessions, config: Callable[..., RunConfig]
):
    wanted = config(freeze=ALL_TRAIN, head={"dropout": 0.5}, data={"augment": "flip"}, train={"epochs": 1})
    without, tested = session(wanted), session(wanted)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    fit(without)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = everything(tested)
    told: list[RangeTestStep] = []
    backbone = next(p for name, p in tested.freezing.trainable.items() if tested.depths[name].distance > 0)
    first, moved = backbone.detach().clone(), {"head": False, "": False, "backbone": False}

    def listen(tried: RangeTestStep) -> None:
        told.append(tried)
        moved[tried.part] |= not torch.equal(backbone, first)

    found = lr_range_test(tested, listen)
    assert moved == {"head": False, "": False, "backbone": True}
    assert same(everything(tested), before)
    assert all(a.done < b.done for a, b in pairwise(told))
    assert told[-1].done <= told[-1].total == 3 * SWEEPS * len(RATES)
    assert found.head
    assert found.backbone
    fit(tested)
    assert same(everything(tested)["weights"], everything(without)["weights"])
    assert [(e.train_loss, e.val_loss) for e in tested.epochs] == [(e.train_loss, e.val_loss) for e in without.epochs]


@pytest.mark.usefixtures("one_thread")
def test_a_test_in_the_middle_of_training_or_that_is_cancelled_leaves_no_trace_either(
    session: Sessions, config: Callable[..., RunConfig]
):
    one = session(config(freeze=ALL_TRAIN))
    one.freezing.train_mode()
    members = one.data.splits["train"]
    list(train_batches(one, [members[:8], members[8:16]], build_criterion(one)))
    before = everything(one)

    def cancel(tried: RangeTestStep) -> None:
        if tried.part == "backbone" and tried.done % len(RATES) == 5:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        lr_range_test(one, cancel)
    assert same(everything(one), before)
    with trial(one):
        list(train_batches(one, [members[:8]], build_criterion(one)))
        assert not same(everything(one), before)
    assert same(everything(one), before)


def curve(loss: Callable[[float], float], steps: int = len(RATES)) -> Curve:
    return suggest_rate([[loss(math.log10(rate)) for rate in RATES[:steps]]])


def test_rates_are_read_off_where_the_loss_falls_and_none_where_it_does_not():
    falls = curve(lambda x: 2 - 1 / (1 + math.exp(-4 * (x + 3))) + (10 ** (x - 0.2)) ** 2)
    assert falls.steepest
    assert falls.minimum_tenth
    assert 1e-3 < falls.steepest < 1e-2  # the slope is steepest at 1e-3; smoothing sees it later
    assert falls.suggested == falls.steepest
    for flat in (curve(lambda _: 1.1), curve(lambda x: 2 + x / 10), curve(lambda _: 1.0, steps=3), suggest_rate([[]])):
        assert (flat.steepest, flat.minimum_tenth, flat.suggested) == (None, None, None)
        assert "no suggestion" in flat.why


def test_what_the_head_gains_alone_is_no_merit_of_the_backbones_rate():
    alone = [2 * 0.97**step for step in range(len(RATES))]
    noise = np.random.default_rng(0).normal(0, 0.3, len(RATES))
    control = [loss + n for loss, n in zip(alone, noise, strict=True)]
    assert suggest_rate([control]).suggested
    assert suggest_rate([control], [control]).suggested is None
    gains = [
        loss - 0.5 / (1 + math.exp(-4 * (math.log10(rate) + 3))) for loss, rate in zip(control, RATES, strict=True)
    ]
    assert suggest_rate([gains], [control]).suggested


def asked(config: RunConfig, read: int | None = None) -> tuple[list[RatesLine], int]:
    """The lines that the process writes, of which so many are read before it is stopped, and its exit status."""
    command = [sys.executable, "-m", "engine.experiments.server.server", "lr-find"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(config.model_dump_json().encode())
        process.stdin.close()
        lines = []
        for line in process.stdout:
            lines.append(msgspec.json.decode(line, type=RatesLine))
            if len(lines) == read:
                process.terminate()
        return lines, process.wait()


@pytest.mark.slow
def test_the_process_emits_each_step_and_its_result_and_ends_on_request(config: Callable[..., RunConfig]):
    lines, status = asked(config())
    assert status == 0
    assert isinstance(lines[-1].found, RangeTestResult)
    head, backbone = lines[-1].found.head, lines[-1].found.backbone
    assert backbone is None  # which is frozen
    assert head
    assert head.suggested
    assert RATES[0] < head.suggested < RATES[-1]
    assert head.suggested == head.steepest
    assert head.rates == RATES[: len(head.losses)]
    assert sum(line.tried is not None for line in lines) > SWEEPS * 10
    assert any(line.activity == "data" for line in lines)
    lines, status = asked(config(), read=5)
    assert status == 130
    assert lines[-1].found is None
    lines, status = asked(config(model={"name": "nonesuch"}))
    assert (status, len(lines), "nonesuch" in lines[-1].error) == (0, 1, True)
    assert json.loads(msgspec.json.encode(RatesLine())) == {}
