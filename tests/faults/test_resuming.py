"""Runs that are interrupted end as if they had not been."""

from __future__ import annotations

import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.compute.task import Criterion
from engine.config.toml_io import with_setting
from engine.models.frozen_prefix import Features
from engine.runs.command_log import new_command_id, send
from engine.runs.commands import Pause, SaveCheckpoint, Set
from engine.runs.event_log import EventTail
from engine.runs.events import (
    AnyEvent,
    Checkpoint,
    CommandApplied,
    DataReady,
    Resumed,
    RunFinished,
    Step,
    Warning,
)
from engine.runs.folder import RunFolder, create
from engine.runs.state import fold_all
from engine.training.feature_loader import Batch
from engine.training.session import Session
from engine.training.step import LaunchedStep, StepResult
from tests.faults.kills import kill_again_and_again, uninterrupted
from tests.faults.lives import Life, Script
from tests.faults.short_run import STEPS, Outcome, log_problems, script, short_config

Reference = tuple[RunFolder, Outcome]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def expected(root: Path) -> Outcome:
    _, outcome = uninterrupted(root)
    assert len(outcome.steps) == STEPS
    return outcome


@pytest.fixture
def folder(root: Path) -> RunFolder:
    return create(root / "runs", short_config(root))


def live(folder: RunFolder, until: Callable[[AnyEvent], bool], script: Script) -> Life:
    """An engine on the run whose log has an event that ``until`` waits for; it was not there when the engine began."""
    tail = EventTail(folder)
    list(tail.poll())
    life = Life(folder, script)
    while not any(until(event) for event in tail.poll()):
        assert not life.over, folder.log.read_text()
        time.sleep(0.002)
    return life


def step(number: int) -> Callable[[AnyEvent], bool]:
    return lambda event: isinstance(event, Step) and event.step >= number


def events(folder: RunFolder, kind: type) -> list:
    return [event for event in EventTail(folder).poll() if isinstance(event, kind)]


def end(folder: RunFolder, asked: Script | None = None) -> Outcome:
    assert Life(folder, script() if asked is None else asked).wait() == 0, folder.log.read_text()
    assert log_problems(folder) == []
    return Outcome.of(folder)


def test_runs_killed_at_random_moments_resume_bit_identically(tmp_path: Path):
    report = kill_again_and_again(tmp_path, kills=6, seed=os.getpid())
    assert report.problems == []
    assert report.lines_lost == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_with_a_checkpoint_and_the_run_resumes_from_it(
    number: signal.Signals, folder: RunFolder, expected: Outcome
):
    life = live(folder, step(8), script())
    life.signal(number)
    assert life.wait(10) == 130
    assert fold_all(EventTail(folder).poll()).status == "stopped"
    stopped_at = max(one.step for one in events(folder, Step))
    assert not expected.difference(end(folder))
    (resumed,) = events(folder, Resumed)
    assert (resumed.step, resumed.told) == (stopped_at, stopped_at)


def test_a_signal_stops_a_run_during_setup(folder: RunFolder, expected: Outcome):
    life = live(folder, lambda _first: True, script())
    life.signal(signal.SIGTERM)
    assert life.wait(10) == 130
    assert "before training began" in events(folder, RunFinished)[-1].reason
    assert not expected.difference(end(folder))


def test_a_signal_stops_a_run_while_features_are_computed(folder: RunFolder, root: Path, expected: Outcome):
    life = Life(folder, script(), fault=slow_to_compute, cache=root / "another-cache")
    while not (folder.path / "computes").exists():
        assert not life.over, folder.log.read_text()
        time.sleep(0.01)
    began = time.monotonic()
    life.signal(signal.SIGTERM)
    assert life.wait(20) == 130
    assert time.monotonic() - began < 10
    assert events(folder, Step) == []
    assert not expected.difference(end(folder))


def slow_to_compute(folder: RunFolder) -> None:
    """As a large network on many images would be."""
    from engine.models.frozen_prefix import Prefix

    compute = Prefix.__call__

    def slow(prefix: Prefix, *inputs: torch.Tensor) -> Features:
        (folder.path / "computes").touch()
        time.sleep(0.5)
        prefix.chunk = 1
        return compute(prefix, *inputs)

    Prefix.__call__ = slow


def test_a_killed_worker_does_not_lose_a_long_epoch(folder: RunFolder, expected: Outcome):
    tail = EventTail(folder)
    life = Life(folder, script(), fault=checkpoints_without_delay)
    told: list[AnyEvent] = []
    while not (saved := [event for event in told if isinstance(event, Checkpoint)]):
        assert not life.over, folder.log.read_text()
        told += tail.poll()
        time.sleep(0.002)
    life.kill()
    assert saved[0].epoch == 0
    assert saved[0].step < 3  # at which the script asks for one
    assert not expected.difference(end(folder))
    (resumed,) = events(folder, Resumed)
    assert resumed.step >= saved[0].step


def checkpoints_without_delay(_folder: RunFolder) -> None:
    """As if five minutes had passed after each step."""
    from engine.training import checkpointing

    checkpointing._INTERVAL = 0.0


def test_images_deleted_after_decoding_are_not_needed(tmp_path: Path, expected: Outcome):
    folder = create(tmp_path / "runs", short_config(tmp_path))
    assert Life(folder, script(), fault=images_vanish).wait() == 0, folder.log.read_text()
    assert not expected.difference(Outcome.of(folder))
    assert not (tmp_path / "images").exists()


def images_vanish(folder: RunFolder) -> None:
    from engine.training import loop

    emit_step = loop.emit_step

    def vanish(session: Session, result: StepResult, images_per_second: float) -> None:
        emit_step(session, result, images_per_second)
        if result.step == 1:
            shutil.rmtree(folder.load_config().data.path)

    loop.emit_step = vanish


def test_images_deleted_or_changed_before_decoding_are_skipped_by_name(tmp_path: Path):
    folder = create(tmp_path / "runs", short_config(tmp_path))
    assert Life(folder, [], fault=some_vanish, cache=tmp_path / "cache").wait() == 0, folder.log.read_text()
    (ready,) = events(folder, DataReady)
    gone, changed = ready.skipped
    assert "no such file" in gone.reason
    assert "not an image in a supported format" in changed.reason


def some_vanish(folder: RunFolder) -> None:
    """Between the look into the folders and the reading."""
    from engine.process import session_setup

    one, another = sorted(Path(folder.load_config().data.path).glob("*/*"))[:2]
    prepare = session_setup.load_data

    def later(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        one.unlink()
        another.write_text("no image any more")
        return prepare(*arguments, **options)

    session_setup.load_data = later


def test_a_stuck_worker_exits_within_ten_seconds_of_a_signal(folder: RunFolder, expected: Outcome):
    life = Life(folder, script(), fault=stuck_at_step_4)
    tail = EventTail(folder)
    while not any(step(4)(event) for event in tail.poll()):
        time.sleep(0.01)
    began = time.monotonic()
    life.signal(signal.SIGTERM)
    assert life.wait(20) == 130
    assert time.monotonic() - began < 10
    assert fold_all(EventTail(folder).poll()).status == "stopped"
    assert not expected.difference(end(folder))


def stuck_at_step_4(_folder: RunFolder) -> None:
    """As a kernel or a network drive would: the main thread does not come back."""
    from engine.training import loop

    launch_step = loop.launch_step

    def stuck(session: Session, batch: Batch, criterion: Criterion) -> LaunchedStep:
        if session.step == 5:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            time.sleep(3600)
        return launch_step(session, batch, criterion)

    loop.launch_step = stuck


def test_a_run_killed_during_replay_ends_the_same(folder: RunFolder, expected: Outcome):
    live(folder, step(12), script()).kill()
    for _ in range(2):
        live(folder, lambda event: isinstance(event, Resumed), script()).kill()
    assert not expected.difference(end(folder))


def test_a_run_killed_between_and_within_phases_ends_the_same(root: Path):
    config = with_setting(
        short_config(root),
        "recipe.phases",
        [
            {"epochs": 1, "rules": ["freeze *", "train head"], "lr": 0.02},
            {"epochs": 1, "rules": ["freeze *", "train layer4", "train head"], "layer_decay": 0.5},
            {"epochs": 1, "rules": ["freeze *", "train layer3", "train head"], "backbone_lr_factor": 0.5},
        ],
    )
    asked: Script = [
        (2, SaveCheckpoint(id="checkpoint")),
        (7, Set(id="rate", key="optimizer.lr", value=0.004)),
        (8, Set(id="thaw", key="freeze.rules", value=["freeze *", "train layer3", "train layer4", "train head"])),
        (12, Set(id="late", key="optimizer.lr", value=0.003)),
    ]
    expected = end(create(root / "runs", config), asked)
    assert [(phase["number"], phase["step"], phase["lr"]) for phase in expected.phases] == [
        (1, 0, 0.02),
        (2, 5, 0.01),
        (3, 10, 0.01),
    ]
    folder = create(root / "runs", config)
    for at in (5, 12):
        live(folder, step(at), asked).kill()
    assert not expected.difference(end(folder, asked))
    state = fold_all(EventTail(folder).poll())
    assert state.rules == config.recipe.phases[2].rules
    assert all(epoch.frozen_unchanged for epoch in state.epochs)


def explode(folder: RunFolder) -> int:
    """A run whose rate was raised until its numbers exploded, and the rate lowered again; gives its last step."""
    asked: Script = [
        (3, SaveCheckpoint(id="checkpoint")),
        (5, Set(id="clip", key="optimizer.clip_norm", value=0.25)),
        (6, Set(id="rate", key="optimizer.lr", value=50.0)),
    ]
    assert Life(folder, asked, fault=overflow_at_high_rates).wait() == 1
    assert "lower optimizer.lr" in events(folder, RunFinished)[-1].reason
    send(folder, Set(id="lower", key="optimizer.lr", value=0.004))
    return max(one.step for one in events(folder, Step))


def overflow_at_high_rates(_folder: RunFolder) -> None:
    """As weights do that have become too large."""
    from engine.training import loop

    launch_step = loop.launch_step

    def overflowing(session: Session, batch: Batch, criterion: Criterion) -> LaunchedStep:
        scale = math.inf if session.config.optimizer.lr > 1 else 1.0
        return launch_step(session, Batch(tuple(tensor * scale for tensor in batch.inputs), batch.labels), criterion)

    loop.launch_step = overflowing


def test_a_run_with_a_nonfinite_loss_resumes_with_another_learning_rate(folder: RunFolder, root: Path):
    failed_at = explode(folder)
    outcome = end(folder, [])
    assert all(one["nonfinite"] is None for one in outcome.steps if one["step"] != failed_at)
    assert [(one.command.id, one.step) for one in events(folder, CommandApplied)][-1] == ("lower", 5)
    assert RunFolder(folder.path).load_config().optimizer.lr == 0.01  # what the run was made with
    assert "step 5 to" in next(one.message for one in events(folder, Warning) if one.code == "tries_again")

    killed = create(root / "runs", short_config(root))
    assert explode(killed) == failed_at
    for _ in range(2):
        live(killed, lambda event: isinstance(event, CommandApplied | Resumed), []).kill()
    assert not outcome.difference(end(killed, []))


def test_commands_sent_while_no_worker_runs_are_applied_once(folder: RunFolder):
    asked = script()[:3]
    live(folder, step(8), asked).kill()
    reported = max(one.step for one in events(folder, Step))
    send(folder, Set(id="late", key="optimizer.lr", value=0.02))
    live(folder, lambda event: isinstance(event, CommandApplied) and event.command.id == "late", asked).kill()
    assert Life(folder, asked).wait() == 0
    assert log_problems(folder) == []
    answers = [one.command.id for one in events(folder, CommandApplied)]
    assert sorted(answers) == ["checkpoint", "late", "rate", "thaw"]
    late = next(one for one in events(folder, CommandApplied) if one.command.id == "late")
    assert late.step >= reported
    assert [one.lr["head"] > 0.004 for one in events(folder, Step) if one.step in (late.step, late.step + 1)] == [
        False,
        True,
    ]


def test_a_pause_ends_when_another_worker_resumes_the_run(folder: RunFolder, expected: Outcome):
    life = live(folder, step(5), script())
    send(folder, Pause(id=new_command_id()))
    while fold_all(EventTail(folder).poll()).status != "paused":
        time.sleep(0.01)
    life.kill()
    outcome = end(folder)
    assert outcome.weights == expected.weights
    assert outcome.steps == expected.steps


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "trainer.json", "SHA256SUMS"])
def test_after_a_damaged_checkpoint_the_one_before_is_used(file: str, folder: RunFolder, expected: Outcome):
    life = live(folder, step(13), script())
    life.signal(signal.SIGTERM)
    life.wait(10)
    last = (folder.checkpoints / "last").resolve()
    content = bytearray((last / file).read_bytes())
    content[len(content) // 2] ^= 1
    (last / file).write_bytes(content)
    assert not expected.difference(end(folder))
    assert "checkpoint_damaged" in {warning.code for warning in events(folder, Warning)}
    (resumed,) = events(folder, Resumed)
    assert resumed.step < resumed.told


def test_without_a_checkpoint_a_run_restarts_and_reports_no_step_twice(folder: RunFolder, expected: Outcome):
    live(folder, step(2), script()).kill()
    assert not folder.checkpoints.exists() or not list(folder.checkpoints.glob("step-*"))
    assert not expected.difference(end(folder))
    (resumed,) = events(folder, Resumed)
    assert (resumed.step, resumed.checkpoint) == (0, None)


def test_a_torn_line_is_truncated_and_numbering_continues(folder: RunFolder, expected: Outcome):
    live(folder, step(9), script()).kill()
    with folder.events.open("ab") as log:
        log.write(b'{"type":"step","seq":999,"ti')
    assert not expected.difference(end(folder))


def test_a_run_stopped_during_evaluation_is_evaluated_again(folder: RunFolder, expected: Outcome):
    life = live(folder, lambda event: getattr(event, "activity", "") == "evaluate", script())
    life.signal(signal.SIGTERM)
    if life.wait(10) == 130:
        assert not expected.difference(end(folder))
    state = fold_all(EventTail(folder).poll())
    assert state.evaluations.keys() == {"val", "test"}
    assert Outcome.of(folder).predictions == expected.predictions


def test_a_completed_run_is_not_resumed(folder: RunFolder):
    assert Life(folder, []).wait() == 0
    before = folder.events.read_bytes()
    assert Life(folder, []).wait() == 2
    assert folder.events.read_bytes() == before
    assert "is completed" in folder.log.read_text()
