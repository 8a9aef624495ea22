"""A completed run trains more epochs; values of settings relative to a run's."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.config.schema import RunConfig
from engine.config.toml_io import changed_value
from engine.errors import InputError
from engine.process.worker import run_worker
from engine.runs.commands import Set
from engine.runs.folder import create
from engine.runs.run_status import RunStatus
from tltui.cli.control import parse_action
from tltui.runs.launch import prepare_resume
from tltui.runs.registry import read

Configs = Callable[..., RunConfig]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """A worker in this process takes over its signals; they are restored afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_completed_run_trains_on_for_more_epochs_and_only_for_them(config: Configs, tmp_path: Path):
    folder = create(tmp_path, config(train={"epochs": 1, "early_stop_patience": 0}))
    assert run_worker(folder) == 0
    before = read(folder)
    for changes in ({}, {"optimizer.lr": "*2"}, {"train.epochs": "1"}):
        assert not prepare_resume(folder, changes), changes
    with pytest.raises(InputError, match=r"train\.epochs = -1 can't be used"):
        prepare_resume(folder, {"train.epochs": "-2"})

    assert prepare_resume(folder, {"train.epochs": "+1", "optimizer.lr": "/10"})
    assert run_worker(folder) == 0
    after = read(folder)
    assert (after.status, after.epochs_planned, len(after.epochs)) == (RunStatus.COMPLETED, 2, 2)
    assert after.epochs[0] == before.epochs[0]
    first, last = before.steps.last, after.steps.last
    assert first is not None
    assert last is not None
    assert last.step == 2 * first.step
    assert last.lr["head"] < 0.1 * config().optimizer.lr
    assert after.model == before.model, "the weights with which the run began"
    assert not prepare_resume(folder, {"train.epochs": "2"}), "a job script may call it again"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.epochs", "+5", 7),
        ("train.epochs", "-1", 1),
        ("train.epochs", "*3", 6),
        ("train.epochs", "5", 5),
        ("optimizer.lr", "*0.1", 0.001),
        ("optimizer.lr", "/ 2e1", 0.0005),
        ("optimizer.lr", "1e-4", 1e-4),
        ("train.seed", "+5", 5),
        ("freeze.rules", '["train *"]', ["train *"]),
    ],
)
def test_live_numbers_may_be_relative(key: str, text: str, value: object, config: Configs):
    assert changed_value(config(), key, text) == value
    command = parse_action(f"{key}={text}", config())
    assert isinstance(command, Set)
    assert command.value == value


def test_a_misspelled_setting_is_named(config: Configs):
    with pytest.raises(InputError, match=r'did you mean "train\.epochs"'):
        parse_action("epochs=+5", config())
