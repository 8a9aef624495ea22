"""Signals to all processes of a run at once, as Slurm, systemd and terminals send them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from engine.config.schema import RunConfig
from engine.runs.event_log import EventTail
from engine.runs.events import Checkpoint, Epoch, Progress, RunFinished, Step
from engine.runs.folder import RunFolder, create
from engine.runs.lock import is_locked
from engine.training.checkpoints import newest_intact
from tests.conftest import Engine, make_images
from tests.faults.lives import Life

ENDING = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
IN_TIME = 10.0  # seconds from the signal to the end of the run
Reached = Callable[[RunFolder], bool]


def wanted(root: Path, config: Callable[..., RunConfig], workers: int, processes: int = 1) -> RunConfig:
    """A run that does not end by itself. Everything trains, so that each epoch forks workers of its own."""
    if not (root / "images").exists():
        make_images(root / "images", 40, side=96)
    return config(
        data={"path": str(root / "images"), "augment": "standard", "workers": workers, "val_fraction": 0.4},
        freeze={"rules": []},
        train={"epochs": 10_000, "batch_size": 8, "processes": processes},
    )


def happened(kind: type, at_least: int = 1, activity: str = "") -> Reached:
    """Whether so many events of a kind are in the log."""

    def reached(folder: RunFolder) -> bool:
        found = [event for event in EventTail(folder).poll() if isinstance(event, kind)]
        return len([one for one in found if getattr(one, "activity", activity) == activity]) >= at_least

    return reached


def writes_a_checkpoint(folder: RunFolder) -> bool:
    """Whether files of a checkpoint are there that nobody was told of."""
    return folder.checkpoints.is_dir() and any(folder.checkpoints.iterdir())


WHILE: dict[str, Reached] = {
    "decoding": happened(Progress, activity="data"),
    "training": happened(Step, 2),
    "validating": happened(Progress, activity="validate"),
    "checkpointing": writes_a_checkpoint,
    "a later epoch": happened(Epoch, 3),
}


def own_group(_folder: RunFolder) -> None:
    """Lead a process group, as a job's first process does."""
    os.setsid()


def wait_until(reached: Reached, folder: RunFolder, over: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 120
    while not reached(folder):
        assert not over(), folder.log.read_text()
        assert time.monotonic() < give_up, folder.log.read_text()
        time.sleep(0.002)


def family(process_id: int) -> list[psutil.Process]:
    """A process and all that come from it."""
    leader = psutil.Process(process_id)
    return [leader, *leader.children(recursive=True)]


def signal_groups(processes: list[psutil.Process], number: int) -> None:
    """Send a signal to the process groups of all of them."""
    groups = set()
    for one in processes:
        with suppress(ProcessLookupError):
            groups.add(os.getpgid(one.pid))
    assert os.getpgrp() not in groups
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, number)


@contextmanager
def in_time(folder: RunFolder) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < IN_TIME, folder.log.read_text()


def check_stopped(folder: RunFolder, number: signal.Signals, *, before_training: bool = False) -> None:
    """The run stopped gracefully: its last event says so, and its last checkpoint can be used."""
    *_, last = EventTail(folder).poll()
    assert isinstance(last, RunFinished)
    assert (last.status, last.exit_code) == ("stopped", 130), folder.log.read_text()
    assert number.name in last.reason
    assert not is_locked(folder)
    assert "DataLoader worker" not in folder.log.read_text()
    problems: list[str] = []
    checkpoint = newest_intact(folder.checkpoints, lambda _code, message: problems.append(message))
    assert (checkpoint is None) is before_training
    assert problems == []


def check_gone(processes: list[psutil.Process], within: float = 5.0) -> None:
    _, alive = psutil.wait_procs(processes, within)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("when", WHILE)
def test_sigterm_to_the_group_stops_the_run_with_a_checkpoint(
    when: str, workers: int, config: Callable[..., RunConfig], tmp_path: Path
):
    folder = create(tmp_path / "runs", wanted(tmp_path, config, workers))
    life = Life(folder, [], own_group)
    wait_until(WHILE[when], folder, lambda: life.over)
    processes = family(life.process_id)
    with in_time(folder):
        os.killpg(life.process_id, signal.SIGTERM)
        assert life.wait() == 130
    check_stopped(folder, signal.SIGTERM, before_training=when == "decoding")
    check_gone(processes)


@pytest.mark.parametrize("number", ENDING)
def test_a_second_signal_damages_nothing(number: signal.Signals, config: Callable[..., RunConfig], tmp_path: Path):
    folder = create(tmp_path / "runs", wanted(tmp_path, config, workers=2))
    life = Life(folder, [], own_group)
    wait_until(WHILE["training"], folder, lambda: life.over)
    with in_time(folder):
        for second in (number, *ENDING, *ENDING):
            with suppress(ProcessLookupError):  # it was quicker
                os.killpg(life.process_id, second)
            time.sleep(0.02)
        assert life.wait() == 130
    *_, last = EventTail(folder).poll()
    assert isinstance(last, RunFinished)
    check_stopped(folder, signal.Signals[last.reason.split()[1]])


def test_signals_at_any_instant_find_no_worker_that_dies_of_them(config: Callable[..., RunConfig], tmp_path: Path):
    folder = create(tmp_path / "runs", wanted(tmp_path, config, workers=2))
    for epochs in (1, 2, 3):
        life = Life(folder, [], own_group)
        wait_until(happened(Epoch, epochs), folder, lambda life=life: life.over)
        while True:  # an epoch forks workers again: this signal comes while it does, or they begin
            try:
                if len(family(life.process_id)) > 1:
                    break
            except psutil.NoSuchProcess:
                pytest.fail(folder.log.read_text())
        os.killpg(life.process_id, signal.SIGTERM)
        assert life.wait() == 130
        check_stopped(folder, signal.SIGTERM)


def test_a_run_under_nohup_continues_when_the_terminal_closes(config: Callable[..., RunConfig], tmp_path: Path):
    folder = create(tmp_path / "runs", wanted(tmp_path, config, workers=2))
    life = Life(folder, [], under_nohup)
    wait_until(WHILE["training"], folder, lambda: life.over)
    os.killpg(life.process_id, signal.SIGHUP)
    wait_until(happened(Epoch, 2), folder, lambda: life.over)
    os.killpg(life.process_id, signal.SIGTERM)
    assert life.wait() == 130
    check_stopped(folder, signal.SIGTERM)


def under_nohup(folder: RunFolder) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    own_group(folder)


def test_workers_go_with_an_engine_that_is_killed(config: Callable[..., RunConfig], tmp_path: Path):
    folder = create(tmp_path / "runs", wanted(tmp_path, config, workers=2))
    life = Life(folder, [], own_group)
    wait_until(WHILE["training"], folder, lambda: life.over)
    while len(processes := family(life.process_id)) < 3:
        time.sleep(0.002)
    life.kill()
    check_gone(processes)


@pytest.mark.parametrize("number", [ENDING[0], *(pytest.param(one, marks=pytest.mark.slow) for one in ENDING[1:])])
def test_signals_to_all_processes_of_several_ranks_stop_the_run_with_a_checkpoint(
    number: signal.Signals, config: Callable[..., RunConfig], tmp_path: Path, engine: Engine
):
    folder, process = engine.start(wanted(tmp_path, config, workers=2, processes=2), start_new_session=True)
    wait_until(happened(Checkpoint), folder, lambda: process.poll() is not None)
    processes = family(process.pid)
    with in_time(folder):
        for _ in range(3):
            signal_groups(processes, number)
            time.sleep(0.1)
        assert process.wait(IN_TIME) == 130
    check_stopped(folder, number)
    check_gone(processes)


@pytest.mark.parametrize("when", ["decoding", "training", "validating"])
@pytest.mark.slow
def test_ranks_stop_whatever_they_do(when: str, config: Callable[..., RunConfig], tmp_path: Path, engine: Engine):
    folder, process = engine.start(wanted(tmp_path, config, workers=2, processes=2), start_new_session=True)
    wait_until(WHILE[when], folder, lambda: process.poll() is not None)
    processes = family(process.pid)
    with in_time(folder):
        signal_groups(processes, signal.SIGTERM)
        assert process.wait(IN_TIME) == 130
    check_stopped(folder, signal.SIGTERM, before_training=when == "decoding")
    check_gone(processes)


@pytest.mark.slow
def test_a_signal_before_the_ranks_begin_stops_the_run(
    config: Callable[..., RunConfig], tmp_path: Path, engine: Engine
):
    folder, process = engine.start(wanted(tmp_path, config, workers=0, processes=2), start_new_session=True)
    while len(processes := family(process.pid)) < 2:
        assert process.poll() is None, folder.log.read_text()
        time.sleep(0.01)
    with in_time(folder):
        signal_groups(processes, signal.SIGTERM)
        assert process.wait(IN_TIME) == 130
    check_stopped(folder, signal.SIGTERM, before_training=True)


@pytest.mark.slow
def test_ranks_stop_with_a_checkpoint_when_their_launcher_is_killed(
    config: Callable[..., RunConfig], tmp_path: Path, engine: Engine
):
    folder, process = engine.start(wanted(tmp_path, config, workers=2, processes=2), start_new_session=True)
    wait_until(happened(Step, 2), folder, lambda: process.poll() is not None)
    processes = family(process.pid)
    process.kill()
    process.wait()
    check_gone(processes, IN_TIME)  # a rank that waits for another leaves 8 s after it sees that the launcher is gone
    check_stopped(folder, signal.SIGTERM)
