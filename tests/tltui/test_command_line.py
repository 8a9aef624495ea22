"""The commands, as real processes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.cache.file_digests import as_keys, digest
from engine.cache.folder import CACHE
from engine.cache.space import CacheSpace
from engine.config.schema import RunConfig
from engine.config.toml_io import load, to_toml
from engine.runs.command_log import send
from engine.runs.commands import Set
from engine.runs.event_log import EventTail
from engine.runs.events import CommandApplied, Epoch, Step, decode_event
from engine.runs.folder import RunFolder
from engine.runs.lock import is_locked
from tests.conftest import kill_workers, make_images
from tltui.runs import launch, registry

TLTUI = [sys.executable, "-m", "tltui"]


class CommandLine:
    """Runs tltui with its runs in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self._started: list[subprocess.Popen[str]] = []
        self.folder = folder
        self.runs = folder / "runs"
        self.environment = {**os.environ, "TLTUI_RUNS": str(self.runs), "COLUMNS": "120", "TERM": "dumb"}

    def __call__(self, *arguments: str, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*TLTUI, *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.folder,
            timeout=timeout,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*TLTUI, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )
        self._started.append(process)
        return process

    def kill_all(self) -> None:
        """Kill the commands that were started, which could start further workers, and all workers."""
        for process in self._started:
            process.kill()
        kill_workers(self.runs)

    def only_run(self) -> RunFolder:
        (folder,) = registry.folders(self.runs)
        return folder


@pytest.fixture
def tltui(tmp_path: Path) -> Iterator[CommandLine]:
    command = CommandLine(tmp_path)
    yield command
    command.kill_all()


@pytest.fixture
def config_file(tmp_path: Path, config: Callable[..., RunConfig]) -> Callable[..., str]:
    def write(**sections: dict) -> str:
        path = tmp_path / "run.toml"
        path.write_text(to_toml(config(**sections)))
        return str(path)

    return write


@pytest.fixture
def long_run(tltui: CommandLine, config_file: Callable[..., str]) -> Iterator[RunFolder]:
    """A detached run that would train for hours, past its first step; killed afterwards."""
    assert tltui("train", config_file(train={"epochs": 100_000}), "--detach").returncode == 0
    folder = tltui.only_run()
    first = wait_for(folder, Step)
    assert first.step == 1
    yield folder
    if is_locked(folder):
        os.kill(json.loads(folder.lock.read_text())["process_id"], signal.SIGKILL)


def wait_for(folder: RunFolder, kind: type) -> object:
    return next(event for event in launch.follow(folder) if isinstance(event, kind))


def test_a_new_config_can_have_the_phases_of_a_recipe(tltui: CommandLine, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    done = tltui("new", "--data", "photos", "--model", "timm/test_resnet", "--recipe", "gradual")
    assert done.returncode == 0, done.stderr
    config = load(tmp_path / "run.toml")
    assert sum(phase.epochs for phase in config.recipe.phases) == config.train.epochs
    assert config.recipe.phases[1].rules == ["freeze *", "train layer4", "train head"]
    unknown = tltui("new", "--recipe", "lpft", "-o", "-")
    assert unknown.returncode == 2
    assert "'lp-ft'" in unknown.stderr


@pytest.mark.real_start
def test_training_from_a_new_config_to_the_results(tltui: CommandLine, tmp_path: Path):
    make_images(tmp_path / "photos", 12)
    assert tltui("new", "--data", "photos", "--model", "timm/test_resnet", "-o", "run.toml").returncode == 0
    assert load(tmp_path / "run.toml").data.path == str(tmp_path / "photos")
    shorter = ("data.image_size=32", "model.weights=none", "freeze.rules=[]", "train.epochs=2", "data.workers=0")
    done = tltui("train", "run.toml", *(part for change in shorter for part in ("--set", change)))
    assert done.returncode == 0, done.stderr
    for expected in ("36 images of 3 classes", "epoch   2/2", "test accuracy", "true ╲ predicted", "best weights"):
        assert expected in done.stdout
    assert "\x1b" not in done.stdout

    listed = json.loads(tltui("runs", "--json").stdout)
    assert len(listed) == 1
    row = listed[0]
    assert set(row) == {
        *("run", "path", "status", "model", "data", "epoch", "epochs"),
        *("best_val_accuracy", "trainable", "total", "created"),
    }
    assert (row["status"], row["model"], row["data"], row["epoch"]) == ("completed", "timm/test_resnet", "photos", 2)
    assert row["run"] in tltui("runs").stdout


def test_json_is_one_event_a_line_without_a_gap_and_attach_gives_the_same(
    tltui: CommandLine, config_file: Callable[..., str]
):
    done = tltui("train", config_file(), "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    kinds = [event["type"] for event in events]
    wanted = ["run_started", "data_ready", "model_ready", "step", "epoch", "checkpoint", "evaluated", "run_finished"]
    assert [kind for kind in dict.fromkeys(kinds) if kind in wanted] == wanted
    assert done.stdout == tltui.only_run().events.read_text()
    assert tltui("attach", "last", "--json").stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "missing.toml"), "can't be read"),
        (("train", "run.toml", "--set", "optimizer.lr=fast"), "optimizer.lr = 'fast' can't be used"),
        (("train", "run.toml", "--set", "train.epochs"), "write KEY=VALUE"),
        (("train", "run.toml", "--set", 'freeze.rules=["freeze *", "train layer9"]'), "matches no layer; nearest"),
        (("train", "run.toml", "--set", 'freeze.rules=["freeze *"]'), "nothing to train"),
        (("train", "run.toml", "--set", "model.name=resnet9"), "is not known; nearest"),
        (("train", "run.toml", "--set", "data.path=nowhere"), "there is no such folder"),
        (("train", "run.toml", "--set", "train.device=cuda:7"), "torch finds"),
        (("attach", "nobody"), 'there is no run "nobody"'),
        (("stop", "nobody"), 'there is no run "nobody"'),
        (("inspect", "resnet9"), "is not known"),
        (("new", "--data", "nowhere"), "there is no such folder"),
        (("frobnicate",), "No such command"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_leaves_nothing(
    arguments: tuple[str, ...], says: str, tltui: CommandLine, config_file: Callable[..., str]
):
    config_file()
    done = tltui(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tltui.runs.glob("*"))


def test_a_config_is_never_overwritten(tltui: CommandLine, config_file: Callable[..., str]):
    before = Path(config_file()).read_text()
    done = tltui("new")
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert (tltui.folder / "run.toml").read_text() == before


def test_ctrl_c_asks_the_run_to_stop_in_order(tltui: CommandLine, config_file: Callable[..., str]):
    command = tltui.start("train", config_file(train={"epochs": 100_000}), "--json")
    assert command.stdout is not None
    for line in command.stdout:
        if isinstance(decode_event(line.encode()), Step):
            break
    command.send_signal(signal.SIGINT)
    rest, errors = command.communicate(timeout=60)
    assert command.returncode == 130
    assert "stopping the run with a checkpoint" in errors
    last = json.loads(rest.splitlines()[-1])
    assert (last["type"], last["status"]) == ("run_finished", "stopped")
    assert (tltui.only_run().checkpoints / "last" / "model.safetensors").exists()


def test_killing_the_command_leaves_the_run_alive(tltui: CommandLine, config_file: Callable[..., str]):
    command = tltui.start("train", config_file(train={"epochs": 100_000}), "--json")
    assert command.stdout is not None
    for line in command.stdout:
        if isinstance(decode_event(line.encode()), Step):
            break
    command.kill()
    command.communicate()
    folder = tltui.only_run()
    seen = max(event.seq for event in EventTail(folder).poll())
    assert next(event for event in launch.follow(folder) if event and event.seq > seen + 20)
    assert tltui("stop", "last").returncode == 0
    assert not is_locked(folder)


def test_a_run_is_listed_steered_and_stopped_from_elsewhere(tltui: CommandLine, long_run: RunFolder):
    assert json.loads(tltui("runs", "--json").stdout)[0]["status"] == "training"

    plan = 'freeze.rules=["freeze *", "train layer4", "train head"]'
    steered = tltui("steer", long_run.id[:3], "pause", plan, "optimizer.lr=0.005", "checkpoint")
    assert steered.returncode == 0, steered.stderr
    assert steered.stdout.count("applied after step") == 4
    assert json.loads(tltui("runs", "--json").stdout)[0]["status"] == "paused"
    assert tltui("steer", str(long_run.path), "resume").returncode == 0

    for wrong in ("faster", "optimizer.name=sgd", 'freeze.rules=["freeze *"]'):
        refused = tltui("steer", "last", wrong)
        assert refused.returncode == 2
        assert wrong in refused.stderr

    stopped = tltui("stop", "last")
    assert stopped.returncode == 0, stopped.stderr
    state = registry.read(long_run)
    assert state.status == "stopped"
    assert state.rules == ["freeze *", "train layer4", "train head"]
    assert state.finished is not None
    assert state.finished.frozen is not None
    assert state.finished.frozen.unchanged
    applied = [event for event in EventTail(long_run).poll() if isinstance(event, CommandApplied)]
    after = next(step for step in state.steps.recent if step.step == applied[1].step + 1)
    assert set(after.lr) == {"head", "backbone"}
    assert tltui("steer", "last", "pause").returncode == 2


def test_a_killed_engine_is_lost_and_following_it_says_so(tltui: CommandLine, long_run: RunFolder):
    os.kill(json.loads(long_run.lock.read_text())["process_id"], signal.SIGKILL)
    followed = tltui("attach", "last", "--json")
    assert followed.returncode == 1
    assert "is gone" in followed.stderr
    assert json.loads(tltui("runs", "--json").stdout)[0]["status"] == "lost"


def test_a_second_engine_on_a_run_is_refused(tltui: CommandLine, long_run: RunFolder):
    worker = [sys.executable, "-m", "engine.process.worker", str(long_run.path)]
    second = subprocess.run(worker, check=False, capture_output=True, text=True)
    assert second.returncode == 2
    assert "already being trained" in second.stderr
    seqs = [event.seq for event in EventTail(long_run).poll()]
    assert seqs == list(range(1, len(seqs) + 1))


def test_sigterm_ends_a_run_with_a_checkpoint(tltui: CommandLine, long_run: RunFolder):
    os.kill(json.loads(long_run.lock.read_text())["process_id"], signal.SIGTERM)
    finished = [event for event in launch.follow(long_run) if event][-1]
    assert (finished.status, finished.exit_code) == ("stopped", 130)
    assert (long_run.checkpoints / "last" / "model.safetensors").exists()


def test_a_killed_run_is_resumed_and_a_completed_one_left_alone(tltui: CommandLine, config_file: Callable[..., str]):
    assert tltui("train", config_file(train={"epochs": 200}), "--detach").returncode == 0
    folder = tltui.only_run()
    wait_for(folder, Epoch)
    os.kill(json.loads(folder.lock.read_text())["process_id"], signal.SIGKILL)
    while is_locked(folder):
        time.sleep(0.01)
    epochs = registry.read(folder).epochs[-1].epoch + 3
    send(folder, Set(id="shorter", key="train.epochs", value=epochs))
    resumed = tltui.start("resume", "last", "--headless")
    output, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    assert "resumed after step" in output
    assert f"train.epochs = {epochs}" in output
    seqs = [event.seq for event in EventTail(folder).poll()]
    assert seqs == list(range(1, len(seqs) + 1))
    again = tltui("resume", "last")
    assert again.returncode == 0
    assert "is completed" in again.stderr


def test_resuming_a_run_that_trains_is_refused(tltui: CommandLine, long_run: RunFolder):
    refused = tltui("resume", "last")
    assert refused.returncode == 2
    assert f"tltui attach {long_run.id[:4]}" in refused.stderr


def test_a_run_that_can_not_be_resumed_for_now_is_kept(
    tltui: CommandLine, config_file: Callable[..., str], tmp_path: Path
):
    photos = make_images(tmp_path / "photos", 12)
    command = tltui.start("train", config_file(data={"path": str(photos)}, train={"epochs": 100_000}), "--json")
    assert command.stdout is not None
    next(line for line in command.stdout if isinstance(decode_event(line.encode()), Step))
    command.terminate()  # as a container's or a job's end would
    command.communicate()
    assert command.returncode == 130
    folder = tltui.only_run()
    photos.rename(tmp_path / "elsewhere")
    assert tltui("resume", "last").returncode == 2
    assert (folder.checkpoints / "last" / "SHA256SUMS").exists()
    assert registry.read(folder).status == "failed"


def test_an_option_before_the_command_counts_as_after_it(tltui: CommandLine, tmp_path: Path):
    (tmp_path / "elsewhere" / "ab12-flowers").mkdir(parents=True)
    (tmp_path / "elsewhere" / "ab12-flowers" / "run.toml").write_text('[data]\nsource = "digits"\n')
    before = tltui("--runs-dir", "elsewhere", "runs", "--json")
    after = tltui("runs", "--json", "--runs-dir", "elsewhere")
    assert [run["run"] for run in json.loads(before.stdout)] == ["ab12-flowers"]
    assert before.stdout == after.stdout


def test_an_ambiguous_prefix_is_refused_with_the_runs_it_means(tltui: CommandLine, config: Callable[..., RunConfig]):
    for name in ("aaaa-one", "aaab-two"):
        (tltui.runs / name).mkdir(parents=True)
        (tltui.runs / name / "run.toml").write_text(to_toml(config()))
    refused = tltui("attach", "aaa")
    assert refused.returncode == 2
    assert "aaaa-one" in refused.stderr
    assert registry.find(tltui.runs, "aaab").id == "aaab-two"


@pytest.mark.slow
def test_the_demo_trains_on_digits_and_compares(tltui: CommandLine):
    done = tltui("demo", "--set", "train.epochs=1", "--set", "freeze.rules=['freeze *', 'train head']")
    assert done.returncode == 0, done.stderr
    assert "1,797 images of 10 classes" in done.stdout
    assert "logistic regression on the raw pixels reaches 9" in done.stdout
    assert "never changed" in done.stdout


@pytest.mark.slow
def test_the_demo_ends_above_98_percent(tltui: CommandLine):
    done = tltui("demo", "--json", timeout=300)
    test = next(e for e in map(json.loads, done.stdout.splitlines()) if e.get("split") == "test" and "count" in e)
    assert test["accuracy"] > 0.98


def test_inspect_prints_the_tree_and_what_a_plan_trains(tltui: CommandLine):
    rules = ("--rule", "freeze *", "--rule", "train layer4", "--rule", "train head")
    shown = tltui("inspect", "resnet18", "--classes", "7", *rules).stdout
    assert "● layer4" in shown
    assert "○ layer1" in shown
    assert "trainable 8.4 M of 11.2 M" in shown
    tree = json.loads(tltui("inspect", "resnet18", "--json").stdout)
    assert tree["head"] == ["fc"]


def test_networks_are_listed(tltui: CommandLine):
    listed = json.loads(tltui("models", "--json").stdout)
    assert len(listed) >= 80
    lite = next(row for row in listed if row["name"] == "efficientnet_lite0")
    assert lite["weights"] == "here"
    assert "timm/convnext_atto" in tltui("models", "timm/convnext_a*").stdout


def test_datasets_are_listed(tltui: CommandLine):
    names = {row["name"] for row in json.loads(tltui("datasets", "--json").stdout)}
    assert {"CIFAR10", "Flowers102", "OxfordIIITPet"} <= names


def test_what_is_cached_is_listed_and_cleared_but_for_what_is_in_use(tltui: CommandLine, tmp_path: Path):
    root = tmp_path / "cache"
    tltui.environment[CACHE] = str(root)
    assert "nothing is cached" in tltui("cache").stdout
    row = [np.zeros(2_000_000, np.uint8)]
    about = {"data": "photos\x1b[2J", "model": "resnet18", "boundary": "layer4", "precision": "bf16"}
    used = CacheSpace(root, "features", "ab" * 16, about, pytest.fail, 2**30)
    used.append(as_keys([digest(b"one")]), row)
    used.publish()
    unused = CacheSpace(root, "images", "cd" * 16, {"data": "flowers", "images": "256 px, bicubic"}, pytest.fail, 2**30)
    unused.append(as_keys([digest(b"one"), digest(b"two")]), row * 2)
    unused.close()

    listed = {space["kind"]: space for space in json.loads(tltui("cache", "list", "--json").stdout)}
    assert (listed["features"]["rows"], listed["features"]["in_use"]) == (1, True)
    assert (listed["images"]["rows"], listed["images"]["in_use"]) == (2, False)
    assert listed["features"]["about"]["boundary"] == ["layer4"]
    shown = tltui("cache").stdout
    assert "\x1b" not in shown
    first, second = sorted(line for line in shown.splitlines() if line.startswith(("features", "images")))
    assert all(part in first for part in (r"photos\x1b[2J", "resnet18", "layer4, bf16", " 1 ", "2.0 MB", "yes"))
    assert all(part in second for part in ("flowers", "256 px, bicubic", " 2 ", "4.0 MB"))

    cleared = tltui("cache", "clear")
    assert cleared.returncode == 0, cleared.stderr
    assert "freed 4.0 MB" in cleared.stdout
    assert r"kept, in use: features of photos\x1b[2J, 2.0 MB" in cleared.stdout
    assert used.present(as_keys([digest(b"one")])).all()
    used.close()
    assert json.loads(tltui("cache", "clear", "--json").stdout)["in_use"] == []
    assert json.loads(tltui("cache", "--json").stdout) == []


@pytest.mark.parametrize(("answer", "stays"), [("n", True), ("y", False)])
def test_clearing_the_cache_asks_on_a_terminal(answer: str, stays: bool, tltui: CommandLine, tmp_path: Path):
    tltui.environment[CACHE] = str(tmp_path / "cache")
    space = CacheSpace(tmp_path / "cache", "images", "cd" * 16, {"data": "flowers"}, pytest.fail, 2**30)
    space.close()
    terminal, slave = pty.openpty()
    os.write(terminal, f"{answer}\n".encode())
    done = subprocess.run(
        [*TLTUI, "cache", "clear"], check=False, stdin=slave, capture_output=True, text=True, env=tltui.environment
    )
    os.close(slave)
    os.close(terminal)
    assert "remove" in done.stderr
    assert done.returncode == (130 if stays else 0)
    assert ("freed" in done.stdout) != stays
    assert (tmp_path / "cache" / "images" / ("cd" * 16)).exists() == stays


def test_doctor_tells_what_a_bug_report_needs(tltui: CommandLine):
    found = json.loads(tltui("doctor", "--json").stdout)
    assert found["terminal"]["TERM"] == "dumb"
    assert found["machine"]["device"]
    assert found["libraries"]["torch"]
    assert "efficientnet_lite0" in found["weights"]["on this machine"]
    assert str(tltui.runs) in found["folders"]["runs"]
    assert "processes stay" in tltui("doctor").stdout


def test_completion_knows_settings_and_runs(tltui: CommandLine, config: Callable[..., RunConfig]):
    assert "_tltui_completion" in tltui("completion", "bash").stdout
    (tltui.runs / "aaaa-one").mkdir(parents=True)
    (tltui.runs / "aaaa-one" / "run.toml").write_text(to_toml(config()))
    for words, completed in (("train run.toml --set opt", "optimizer.lr="), ("attach aa", "aaaa-one")):
        tltui.environment |= {
            "_TLTUI_COMPLETE": "bash_complete",
            "COMP_WORDS": f"tltui {words}",
            "COMP_CWORD": str(len(words.split())),
        }
        assert completed in tltui().stdout


def test_every_command_has_help_with_an_example(tltui: CommandLine):
    from tltui.cli.main import cli

    for name in cli.commands:
        shown = tltui(name, "--help")
        assert shown.returncode == 0
        assert "Example:  " in shown.stdout or "Example:" in shown.stdout
        assert shown.stdout.splitlines()[-1].strip().startswith("Manual: tltui help ")


def test_a_reader_that_leaves_is_no_error(tltui: CommandLine):
    shell = f"{sys.executable} -m tltui models | head -1"
    command = ["bash", "-o", "pipefail", "-c", shell]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=tltui.environment)
    assert done.returncode == 0
    assert done.stderr == ""


def test_names_with_escapes_are_shown_and_not_obeyed(tltui: CommandLine, tmp_path: Path):
    make_images(tmp_path / "photos", 8, names=("red", "blue"))
    evil = "[bold]\x1b[2Jgreen"
    (tmp_path / "photos" / "blue").rename(tmp_path / "photos" / evil)
    settings = (
        "data.image_size=32",
        "model.weights=none",
        "model.name=timm/test_resnet",
        "train.epochs=1",
        "freeze.rules=[]",
    )
    assert tltui("new", "--data", "photos").returncode == 0
    done = tltui("train", "run.toml", *(part for change in settings for part in ("--set", change)))
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert r"[bold]\x1b[2Jgreen" in done.stdout


def test_mismatched_libraries_are_named_with_what_to_install(tltui: CommandLine, tmp_path: Path):
    """A torchvision built for another torch fails like this when it is imported."""
    broken = tmp_path / "broken" / "torchvision"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    tltui.environment["PYTHONPATH"] = str(tmp_path / "broken")
    for arguments in (("models",), ("demo",)):
        done = tltui(*arguments)
        assert done.returncode == 2
        assert "operator torchvision::nms does not exist" in done.stderr
        assert "pip install --force-reinstall torch torchvision" in done.stderr
