"""Several processes that train one run together: what one process does, they do."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from engine.cache.listing import spaces
from engine.config.schema import RunConfig
from engine.config.toml_io import to_toml, with_setting
from engine.data.loaders import rank_share
from engine.runs.command_log import send
from engine.runs.commands import Pause, Resume, Set, Stop
from engine.runs.event_log import EventTail
from engine.runs.events import CommandApplied, Epoch, Evaluated, Layers, Resumed, RunFinished, Step, Warning
from engine.runs.folder import RunFolder, create
from engine.runs.lock import is_locked
from engine.runs.state import fold_all
from tests.conftest import Engine, make_images
from tests.engine.ranks import Together
from tests.faults.lives import Life, Script
from tests.faults.short_run import Outcome, log_problems, short_config

DEEP = ["freeze *", "train layer3", "train layer4", "train head"]
# Steps of 7 and 8 images, so that the two parts of some weigh more than the other; 51 of them.
CASES: dict[str, dict[str, Any]] = {
    "the head, from the cache": {"head": {"dropout": 0.4, "hidden": [16]}, "train": {"sampler": "balanced"}},
    "batch statistics that move, by commands": {
        "data": {"augment": "standard", "views": 2, "workers": 0},
        "freeze": {"rules": DEEP},
        "optimizer": {"lr": 1e-3},
        "train": {"class_weights": "balanced", "label_smoothing": 0.1, "batch_size": 4, "accumulate": 2},
    },
    "batch statistics that stay, in phases": {
        "freeze": {"norm_stats": "frozen"},
        "recipe": {"phases": [{"epochs": 7, "rules": ["freeze *", "train head"]}, {"epochs": 10, "rules": DEEP}]},
    },
}
COMMANDS: Script = [
    (10, Set(id="rate", key="optimizer.lr", value=5e-4)),
    (20, Set(id="freeze", key="freeze.rules", value=["freeze *", "train layer4", "train head"])),
    (30, Set(id="refused", key="optimizer.name", value="sgd")),
]


def events(folder: RunFolder, kind: type) -> list[Any]:
    return [event for event in EventTail(folder).poll() if isinstance(event, kind)]


def furthest(one: list[float], other: list[float]) -> float:
    """The largest relative difference."""
    return max(abs(a - b) / max(abs(a), 1e-9) for a, b in zip(one, other, strict=True))


def uneven_images(root: Path) -> str:
    """Of one class there are fewer than of the others."""
    make_images(root, 7, names=("blue",))
    return str(make_images(root, 19, names=("green", "red")))


@pytest.mark.parametrize("case", [*list(CASES)[:2], pytest.param(list(CASES)[2], marks=pytest.mark.slow)])
def test_two_processes_take_the_steps_of_one(case: str, config: Callable[..., RunConfig], tmp_path: Path):
    sections = msgspec.json.decode(msgspec.json.encode(CASES[case]))
    sections.setdefault("data", {})["path"] = uneven_images(tmp_path / "images")
    sections["train"] = {"batch_size": 8, **sections.get("train", {}), "epochs": 17}
    wanted = config(**sections)
    commands = COMMANDS if "commands" in case else []
    alone, together = create(tmp_path / "alone", wanted), create(tmp_path / "together", wanted)
    life, ranks = Life(alone, commands), Together(together, script=commands)
    assert ranks.wait() == [0, 0], together.log.read_text()
    assert life.wait() == 0
    steps, shared = events(alone, Step), events(together, Step)
    assert len(steps) >= 50
    assert furthest([one.loss for one in steps], [one.loss for one in shared]) < 1e-5
    assert furthest([one.grad_norm for one in steps], [one.grad_norm for one in shared]) < 1e-3
    for kind, names in ((Epoch, ("val_loss", "val_accuracy", "train_accuracy")), (Evaluated, ("accuracy", "log_loss"))):
        for name in names:
            pairs = [[getattr(event, name) for event in events(folder, kind)] for folder in (alone, together)]
            assert furthest(*pairs) < 1e-4, name
    assert [one.dead for one in events(alone, Layers)] == [one.dead for one in events(together, Layers)]
    applied = [[(one.command.id, one.step) for one in events(folder, CommandApplied)] for folder in (alone, together)]
    assert applied[0] == applied[1] == [(one.id, at) for at, one in commands if one.id != "refused"]
    paths = [
        [line.split(",")[:3] for line in folder.predictions.read_text().splitlines()] for folder in (alone, together)
    ]
    assert paths[0] == paths[1]
    assert log_problems(together) == []


def test_local_batches_are_equal_and_each_image_is_in_one():
    batches = [[5, 2, 9, 4, 11], list(range(0, 40, 2)), [3, 1, 2]]
    for batch in batches:
        parts = [rank_share(batch, rank, 3) for rank in range(3)]
        assert sorted(chain(*parts)) == list(range(len(batch)))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert rank_share([5, 2, 9, 4, 11, 8], 1, 2) == [0, 2, 4]


def test_a_stop_reaches_all_ranks(tmp_path: Path):
    folder = create(tmp_path / "runs", short_config(tmp_path))
    ranks = Together(folder, script=[(4, Stop(id="stop"))])
    assert ranks.wait() == [130, 130]
    assert events(folder, RunFinished)[-1].status == "stopped"
    assert events(folder, Step)[-1].step == 4
    assert (folder.checkpoints / "last").exists()


def test_a_pause_and_a_signal_to_any_rank_reach_all(tmp_path: Path):
    folder = create(tmp_path / "runs", with_setting(short_config(tmp_path), "train.epochs", 10_000))
    ranks = Together(folder, script=[(4, Pause(id="pause"))])
    while not events(folder, CommandApplied):
        time.sleep(0.02)
    send(folder, Resume(id="resume"))
    while events(folder, Step)[-1].step < 8:
        time.sleep(0.02)
    ranks.signal(1, signal.SIGTERM)
    assert ranks.wait() == [130, 130]
    assert events(folder, RunFinished)[-1].reason.startswith("signal SIGTERM after step")


@pytest.mark.parametrize("on_nan", ["stop", pytest.param("rollback", marks=pytest.mark.slow)])
def test_a_nonfinite_loss_ends_the_run_in_all_ranks(on_nan: str, config: Callable[..., RunConfig], tmp_path: Path):
    wanted = config(
        optimizer={"name": "sgd", "lr": 100, "backbone_lr_factor": 1.0, "clip_norm": 0.0},
        freeze={"rules": DEEP},
        train={"on_nan": on_nan, "epochs": 40},
    )
    folder = create(tmp_path / "runs", wanted)
    ended = Together(folder).wait()
    finished = events(folder, RunFinished)[-1]
    assert ended == [finished.exit_code] * 2
    if on_nan == "stop":
        assert finished.status == "failed"
        assert "at step" in finished.reason
    else:  # whether that helps depends on when the last checkpoint was written
        assert "rolled_back" in [one.code for one in events(folder, Warning)]


def test_each_rank_computes_and_caches_its_share_of_the_features(config: Callable[..., RunConfig], tmp_path: Path):
    wanted = config(data={"path": str(make_images(tmp_path / "images", 32))}, train={"batch_size": 16, "epochs": 4})
    caches = [tmp_path / "one", tmp_path / "two"]
    assert Together(create(tmp_path / "runs", wanted), caches=caches).wait() == [0, 0]
    kept = [sum(space.rows for space in spaces(cache) if space.kind == "features") for cache in caches]
    assert sum(kept) >= 96  # all images, and those of some batches that the parts had to be made equal with
    assert max(kept) < 0.7 * 96


def test_batches_smaller_than_the_world_size_are_refused(config: Callable[..., RunConfig], tmp_path: Path):
    folder = create(tmp_path / "runs", config(train={"batch_size": 1}))
    assert Together(folder).wait() == [2, 2]
    assert "train.batch_size = 1" in events(folder, RunFinished)[-1].reason


def rank_of(process: psutil.Process) -> str:
    try:
        return process.environ().get("RANK", "")
    except psutil.Error:
        return ""


def ranks_below(process_id: int) -> dict[str, psutil.Process]:
    """The processes that torchrun started, by their numbers."""
    return {rank: one for one in psutil.Process(process_id).children(recursive=True) if (rank := rank_of(one))}


def wait_for_step(folder: RunFolder, step: int) -> None:
    tail, give_up = EventTail(folder), time.monotonic() + 120
    while all(event.step < step for event in tail.poll() if isinstance(event, Step)):
        assert time.monotonic() < give_up, folder.log.read_text()
        time.sleep(0.02)


def test_a_killed_rank_ends_the_run_and_it_resumes_with_the_same_result(tmp_path: Path):
    wanted = short_config(tmp_path)
    undisturbed, folder = (create(tmp_path / "runs", wanted) for _ in range(2))
    assert Together(undisturbed).wait() == [0, 0]
    ranks = Together(folder, script=[(8, Pause(id="pause"))])
    while not events(folder, CommandApplied):
        time.sleep(0.02)
    ranks.kill(1)
    assert ranks.wait() == [1, -signal.SIGKILL]
    finished = events(folder, RunFinished)[-1]
    assert (finished.status, finished.exit_code) == ("failed", 1)
    assert "a process of the run is lost" in finished.reason
    assert not is_locked(folder)
    assert Together(folder).wait() == [0, 0], folder.log.read_text()
    assert Outcome.of(folder).difference(Outcome.of(undisturbed)) == ["answers"]  # to the pause
    assert log_problems(folder) == []
    assert len(events(folder, Resumed)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_launcher_reports_that_a_rank_died(rank: str, tmp_path: Path, engine: Engine):
    wanted = with_setting(with_setting(short_config(tmp_path), "train.processes", 2), "train.epochs", 10_000)
    folder, process = engine.start(wanted)
    wait_for_step(folder, 3)
    ranks_below(process.pid)[rank].kill()
    assert process.wait(timeout=120) == 1
    finished = events(folder, RunFinished)
    assert [(one.status, one.exit_code) for one in finished] == [("failed", 1)]
    assert "a process of the run" in finished[0].reason
    assert not is_locked(folder)


def test_sigterm_to_the_launcher_stops_the_run_gracefully(tmp_path: Path, engine: Engine):
    wanted = with_setting(with_setting(short_config(tmp_path), "train.processes", 2), "train.epochs", 10_000)
    folder, process = engine.start(wanted)
    wait_for_step(folder, 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    finished = events(folder, RunFinished)
    assert [one.status for one in finished] == ["stopped"]
    assert (folder.checkpoints / "last").exists()


@pytest.mark.slow
def test_torchrun_restarts_the_ranks_if_one_dies(tmp_path: Path):
    wanted = short_config(tmp_path)
    (tmp_path / "run.toml").write_text(to_toml(with_setting(wanted, "train.epochs", 20)))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    tltui = ["-m", "tltui", "train", str(tmp_path / "run.toml"), "--json", "--runs-dir", str(tmp_path / "runs")]
    with subprocess.Popen([sys.executable, *torchrun, *tltui], stdout=subprocess.PIPE) as process:
        while not (found := list((tmp_path / "runs").glob("*"))):
            assert process.poll() is None
            time.sleep(0.02)
        folder = RunFolder(found[0])
        wait_for_step(folder, 20)
        ranks_below(process.pid)["1"].kill()
        shown = process.communicate(timeout=240)[0]
    assert process.returncode == 0
    assert list((tmp_path / "runs").iterdir()) == [folder.path]
    assert fold_all(EventTail(folder).poll()).status == "completed"
    assert len(events(folder, Resumed)) == 1
    assert log_problems(folder) == []
    assert shown == folder.events.read_bytes()
