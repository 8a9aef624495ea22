"""A whole session as a user has it: the real app in a terminal, the real engine, the demo."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pseudo_terminal import Terminal

from engine.cache.folder import CACHE
from engine.runs.commands import Set
from engine.runs.event_log import EventTail
from engine.runs.events import CommandApplied
from engine.runs.folder import RunFolder
from engine.runs.lock import is_locked
from tltui.runs import registry

Open = Callable[..., Terminal]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def tltui(tmp_path: Path, runs_dir: Path) -> Iterator[Open]:
    """Opens terminals with the command on them; ends what is left of them and of their runs."""
    opened: list[Terminal] = []

    def open_terminal(*arguments: str) -> Terminal:
        command = [sys.executable, "-m", "tltui", *arguments]
        environment = {
            "TLTUI_RUNS": str(runs_dir),
            CACHE: str(tmp_path / "cache"),  # with the demo in it a run would be over before one can look
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
        }
        opened.append(Terminal(command, 120, 40, folder=tmp_path, **environment))
        return opened[-1]

    yield open_terminal
    for terminal in opened:
        terminal.kill()
    for folder in filter(is_locked, registry.folders(runs_dir)):
        os.kill(engine_of(folder), signal.SIGKILL)


def engine_of(folder: RunFolder) -> int:
    """The process that trains a run."""
    return json.loads(folder.lock.read_bytes())["process_id"]


def waiting_engines(app: Terminal) -> list[int]:
    """The engines that the app lets wait for a run."""
    children = psutil.Process(app.process.pid).children()
    return [child.pid for child in children if "--warm" in child.cmdline()]


def plans_applied(folder: RunFolder) -> list[list[str]]:
    """The freeze plans that the engine took while it trained."""
    answers = [event for event in EventTail(folder).poll() if isinstance(event, CommandApplied)]
    return [a.command.value for a in answers if isinstance(a.command, Set) and a.command.key == "freeze.rules"]


def test_a_session_from_the_first_key_to_the_end_of_the_run(tltui: Open, runs_dir: Path):
    app = tltui()
    app.wait_for("no runs yet")
    app.press("t")  # the demo, as a draft
    app.wait_for("conv_stem")
    (warm,) = waiting_engines(app)
    app.press("h")
    app.wait_for("○ blocks")
    app.press("r")
    app.wait_for("training  epoch 1/8", 120)
    (folder,) = registry.folders(runs_dir)
    assert engine_of(folder) == warm
    app.wait_for(lambda: "step " in app.text)
    # The demo is over within seconds; this session watches it for longer.
    steer = [sys.executable, "-m", "tltui", "steer", folder.id, "train.epochs=1000", "--runs-dir", str(runs_dir)]
    subprocess.run(steer, check=True, capture_output=True)

    app.press("\x1bOQ")  # F2: the layers
    app.press("1")
    app.wait_for(lambda: len(plans_applied(folder)) == 1)
    app.press("h")
    app.wait_for(lambda: len(plans_applied(folder)) == 2)
    first, second = plans_applied(folder)
    assert "train head" in first
    assert len(first) > 2
    assert second == ["freeze *", "train head"]

    app.press("p")
    app.wait_for("‖ paused")
    app.press("d")
    app.wait_for("1 training")
    app.press("q")
    app.wait_for("continues without the app")
    app.press("\r")
    assert app.end_of_program() == 0
    assert is_locked(folder)

    app = tltui("attach", "last")
    app.wait_for("‖ paused")
    app.wait_for("○ blocks")
    app.press("p")
    app.wait_for("● training")
    app.close()
    assert app.process.wait(3) == 129
    assert is_locked(folder)

    app = tltui("attach", folder.id)
    app.wait_for("● training")
    app.press("s")
    app.wait_for("Stop training?")
    app.press("\x1b[C\r")
    app.wait_for("■ stopped")
    assert (folder.checkpoints / "last").is_dir()
    app.press("q")
    assert app.end_of_program() == 0
    assert len(registry.folders(runs_dir)) == 1
