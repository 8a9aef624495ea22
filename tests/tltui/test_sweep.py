"""``tltui sweep``, as real processes: trials are runs, whatever ends the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config.schema import RunConfig
from engine.config.toml_io import load
from engine.errors import InputError
from engine.experiments.sweep.definition import define, read_file
from engine.experiments.sweep.presets import PRESETS
from engine.experiments.sweep.sweep_toml import preset_to_toml
from engine.runs.folder import RunFolder
from tests.tltui.conftest import engine_of
from tests.tltui.test_command_line import CommandLine
from tltui.runs import registry

LONG = 100_000  # epochs
PATIENCE = 200  # seconds, for a machine that does much else


def told(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def until(command: subprocess.Popen[str], kind: str) -> dict[str, Any]:
    """Read what a sweep tells up to the first of a kind."""
    assert command.stdout is not None
    for line in command.stdout:
        fact = json.loads(line)
        if fact["type"] == kind:
            return fact
    raise AssertionError(f"no {kind}: {command.communicate()[1]}")


def test_a_grid_is_tried_in_full_each_trial_a_run_and_once_only(tltui: CommandLine, sweep_file: Callable[..., str]):
    done = tltui("sweep", sweep_file(parallel=2), "--json")
    assert done.returncode == 0, done.stderr
    results = told(done.stdout)[-1]
    assert [trial["status"] for trial in results["trials"]] == ["completed"] * 3
    assert {trial["settings"]["optimizer.lr"] for trial in results["trials"]} == {0.01, 0.001, 1e-4}
    best = max(results["trials"], key=lambda trial: (trial["val_accuracy"], -trial["val_loss"]))
    assert results["best"] == best
    assert {bar["label"] for bar in results["margins"][0]["bars"]} == {"0.01", "0.001", "0.0001"}
    listed = json.loads(tltui("runs", "--json").stdout)
    assert {row["path"] for row in listed} == {trial["run"] for trial in results["trials"]}
    assert load(Path(best["run"]) / "run.toml").optimizer.lr == best["settings"]["optimizer.lr"]

    again = tltui("sweep", "sweep.toml", "--json")
    assert [fact["type"] for fact in told(again.stdout)] == ["sweep_started", "sweep_results"]
    shown = tltui("sweep", "sweep-", "--show")
    assert shown.returncode == 0, shown.stderr
    assert all(word in shown.stdout for word in ("best: trial", "optimizer.lr=", "3 completed"))


def test_a_sweep_resumes_after_ctrl_c_after_a_kill_and_where_a_worker_was_lost(
    tltui: CommandLine, sweep_file: Callable[..., str]
):
    sweep_file('"optimizer.lr" = [0.01]', {"train": {"epochs": LONG}})
    command = tltui.start("sweep", "sweep.toml", "--json")
    first = until(command, "trial_epoch")
    command.send_signal(signal.SIGINT)
    rest, _ = command.communicate(timeout=PATIENCE)
    assert command.returncode == 130
    assert [fact["result"]["status"] for fact in told(rest) if fact["type"] == "trial_finished"] == ["stopped"]
    assert [trial["status"] for trial in told(rest)[-1]["trials"]] == ["stopped"]
    folder = tltui.only_run()
    assert registry.read(folder, steps=False).status == "stopped"

    command = tltui.start("sweep", "sweep.toml", "--json")
    started = until(command, "trial_started")
    assert (started["trial"], started["run"], started["resumed"]) == (first["trial"], str(folder.path), True)
    assert until(command, "trial_epoch")["epoch"] > first["epoch"]
    command.kill()
    command.communicate()
    engine = engine_of(folder)

    command = tltui.start("sweep", "sweep.toml", "--json")
    assert until(command, "trial_started")["resumed"]
    until(command, "trial_epoch")
    assert engine_of(folder) == engine
    os.kill(engine, signal.SIGKILL)
    assert until(command, "trial_started")["run"] == str(folder.path)
    until(command, "trial_epoch")
    assert engine_of(folder) != engine
    command.send_signal(signal.SIGTERM)
    command.communicate(timeout=PATIENCE)
    assert command.returncode == 130
    assert tltui.only_run() == folder


def test_a_sweep_is_listed_watched_and_stopped_from_elsewhere(tltui: CommandLine, sweep_file: Callable[..., str]):
    assert json.loads(tltui("sweep", "--json").stdout) == []
    refused = tltui("sweep", sweep_file(base={"train": {"epochs": LONG}}), "--stop")
    assert refused.returncode == 2
    assert "has not started" in refused.stderr
    at_work = tltui.start("sweep", "sweep.toml", "--json")
    name = until(at_work, "sweep_started")["sweep"]
    until(at_work, "trial_epoch")

    watching = tltui.start("sweep", name, "--watch", "--json")
    trials = until(watching, "sweep_results")["trials"]
    assert [(trial["status"], trial["epochs"]) for trial in trials] == [("running", LONG)]
    assert trials[0]["epoch"] >= 1
    assert trials[0]["val_accuracy"] is not None
    assert json.loads(tltui("sweep", "--json").stdout) == [
        {"sweep": name, "running": 1, "ended": 0, "wanted": 3, "best": None, "score": "accuracy"}
    ]
    assert tltui("sweep", name, "--stop").returncode == 0
    at_work.communicate(timeout=PATIENCE)
    assert at_work.returncode == 0
    while until(watching, "sweep_results")["trials"][0]["status"] != "stopped":
        pass
    watching.kill()
    watching.communicate()
    assert registry.read(tltui.only_run(), steps=False).status == "stopped"


@pytest.mark.slow
def test_another_process_joins_by_the_storage_alone(tltui: CommandLine, sweep_file: Callable[..., str]):
    url = f"sqlite:///{tltui.folder / 'shared.db'}"
    rates = ", ".join(str(rate / 1000) for rate in range(1, 7))
    first = tltui.start("sweep", sweep_file(f'"optimizer.lr" = [{rates}]', storage=url), "--json")
    until(first, "trial_started")
    joined = tltui("sweep", "--join", url, "--json", "--runs-dir", str(tltui.folder / "elsewhere"))
    assert joined.returncode == 0, joined.stderr
    assert first.wait(PATIENCE) == 0
    results = told(tltui("sweep", "--join", url, "--show", "--json").stdout)[-1]
    assert [trial["status"] for trial in results["trials"]] == ["completed"] * 6
    assert len({trial["settings"]["optimizer.lr"] for trial in results["trials"]}) == 6
    assert {Path(trial["run"]).parent.name for trial in results["trials"]} == {"runs", "elsewhere"}


@pytest.mark.slow
def test_a_hopeless_trial_is_stopped_and_marked(tltui: CommandLine, sweep_file: Callable[..., str]):
    good = [[rate / 100, 64] for rate in range(3, 8)]
    hopeless = [1e-9, 1]
    pairs = [*good[:3], hopeless, *good[3:]]  # combinations come shuffled, always alike: this one is the last
    space = f'"optimizer.lr, train.batch_size" = {pairs}'
    done = tltui("sweep", sweep_file(space, {"train": {"epochs": 60}}, pruner="median"), "--json")
    assert done.returncode == 0, done.stderr
    trials = told(done.stdout)[-1]["trials"]
    assert [trial["status"] for trial in trials] == ["completed"] * 5 + ["pruned"]
    assert trials[-1]["settings"] == {"optimizer.lr": 1e-9, "train.batch_size": 1}
    assert registry.read(RunFolder(Path(trials[-1]["run"])), steps=False).status == "stopped"


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ('"optimizer.rl" = [0.1]', '"optimizer.rl" is not a setting; did you mean "optimizer.lr"?'),
        ('"optimizer.lr" = [0.1, -1.0]', "optimizer.lr = -1.0 can't be used"),
        ('"optimizer.name" = ["adamw", "adamx"]', "adamw | adam | sgd | rmsprop"),
        ('"data.val_fraction" = [0.2, 0.79]', "leave nothing to train on"),
        ('"optimizer.lr" = { low = 0.1, high = 0.01 }', "is not below high"),
        ('"optimizer.lr" = { low = 0.01, high = 0.1 }', "is a range, and sampler"),
        ('"optimizer.lr" = []', "write a list of values"),
        ('"train.score" = ["loss", "accuracy"]', "by which trials are ranked; set it in the base instead"),
        ('"optimizer.name, optimizer.lr" = [["sgd"]]', "a list of 2 values"),
    ],
)
def test_a_space_that_can_not_be_used_is_one_sentence(
    space: str, says: str, config: Callable[..., RunConfig], sweep_file: Callable[..., str], tmp_path: Path
):
    path = tmp_path / sweep_file(space)
    with pytest.raises(InputError) as refused:
        define(path, read_file(path), config())
    assert says in str(refused.value)


def test_a_sweep_that_can_not_be_used_starts_nothing(tltui: CommandLine, sweep_file: Callable[..., str]):
    done = tltui("sweep", sweep_file('"optimizer.rl" = [0.1]'))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert 'did you mean "optimizer.lr"?' in done.stderr
    assert not tltui.runs.exists()


@pytest.mark.slow
def test_a_base_that_can_not_be_trained_ends_the_sweep_at_its_first_trial(
    tltui: CommandLine, sweep_file: Callable[..., str]
):
    done = tltui("sweep", sweep_file(base={"data": {"path": "nowhere"}}))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "there is no such folder" in done.stderr


@pytest.mark.parametrize("kind", PRESETS)
def test_ready_made_sweeps_can_be_read(kind: str, config: Callable[..., RunConfig], tmp_path: Path):
    path = tmp_path / "sweep.toml"
    path.write_text(preset_to_toml(kind, "run.toml", config()))
    names = [dimension.name for dimension in define(path, read_file(path), config()).space]
    assert "optimizer.backbone_lr_factor" not in names  # where the backbone is frozen the factor does nothing


def test_rates_of_a_backbone_that_trains_are_tried_too(config: Callable[..., RunConfig]):
    assert "backbone_lr_factor" in preset_to_toml("rates", "run.toml", config(freeze={"rules": []}))


def test_a_preset_written_elsewhere_finds_its_base(tltui: CommandLine):
    (tltui.folder / "out").mkdir()
    assert tltui("new", "-o", "out/run.toml").returncode == 0
    for output in ("out/s.toml", "s.toml"):
        assert tltui("sweep", "--ready", "rates", "--base", "out/run.toml", "-o", output).returncode == 0
        shown = tltui("sweep", output, "--show")
        assert "has not started" in shown.stderr, "the base is read before the sweep is looked for"


def test_a_ready_made_sweep_is_written_and_not_over_another(tltui: CommandLine):
    assert tltui("sweep", "--ready", "rates", "--base", "demo").returncode == 0
    shown = tltui("sweep", "sweep.toml", "--show")
    assert (shown.returncode, "this sweep has not started" in shown.stderr) == (2, True)
    again = tltui("sweep", "--ready", "epochs", "--base", "demo")
    assert (again.returncode, "exists already" in again.stderr) == (2, True)


def test_a_process_that_can_not_import_is_not_started_for_ever(
    tltui: CommandLine, sweep_file: Callable[..., str], tmp_path: Path
):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torch.py").write_text("import os; os._exit(3)")
    tltui.environment["PYTHONPATH"] = f"{tmp_path / 'broken'}:{os.environ.get('PYTHONPATH', '')}"
    done = tltui("sweep", sweep_file())
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "crashed twice" in done.stderr
