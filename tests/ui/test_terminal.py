"""The app on a real terminal, and what it does when that goes away."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from folded_runs import beginning, training
from networks import as_json, resnet18
from pseudo_terminal import Terminal

from engine.runs import commands as p
from engine.runs.folder import RunFolder
from tltui.app.terminal import set_pace

LEAVE_ALTERNATE_SCREEN, SHOW_CURSOR = b"\x1b[?1049l", b"\x1b[?25h"
MOUSE_OFF = (b"\x1b[?1000l", b"\x1b[?1003l", b"\x1b[?1006l")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    command = [sys.executable, "-m", "tltui", "--runs-dir", str(tmp_path)]
    opened = Terminal(command, 80, 24, XDG_CONFIG_HOME=str(tmp_path / "config"))
    opened.wait_for("no runs yet")
    yield opened
    opened.kill()


def is_as_it_was(terminal: Terminal) -> bool:
    """Whether the program has taken back what it had set up."""
    said = terminal.seen[terminal.seen.rindex(b"\x1b[?25l") :]  # the last time that it hid the cursor
    return all(code in said for code in (LEAVE_ALTERNATE_SCREEN, SHOW_CURSOR, *MOUSE_OFF))


def test_the_app_leaves_the_terminal_as_it_was_when_it_is_left(terminal: Terminal):
    terminal.press("q")
    assert terminal.end_of_program() == 0
    assert is_as_it_was(terminal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_app_that_is_terminated_leaves_the_terminal_as_it_was(terminal: Terminal, number: signal.Signals):
    terminal.process.send_signal(number)
    assert terminal.end_of_program() == 128 + number
    assert is_as_it_was(terminal)


def test_an_app_whose_terminal_is_closed_ends_within_seconds(terminal: Terminal):
    terminal.close()
    assert terminal.process.wait(3) == 128 + signal.SIGHUP


def test_an_app_that_hangs_ends_within_seconds_of_a_signal():
    code = (
        "import asyncio\n"
        "from tltui.app.terminal import leave_on_signals\n"
        "async def hang():\n"
        "    leave_on_signals(print)\n"
        "    print('hangs', flush=True)\n"
        "    while True: pass\n"
        "asyncio.run(hang())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        try:
            assert process.wait(3) == 128 + signal.SIGHUP
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["xterm-256color", "screen"])
@pytest.mark.parametrize("no_colour", [{}, {"NO_COLOR": "1"}])
def test_nothing_has_the_colour_of_its_background(tmp_path: Path, name: str, no_colour: dict[str, str]):
    command = [sys.executable, "-m", "tltui", "--runs-dir", str(tmp_path), "--no-mouse"]
    environment = {"TERM": name, "COLORTERM": "", "XDG_CONFIG_HOME": str(tmp_path / "config"), **no_colour}
    terminal = Terminal(command, 80, 24, **environment)
    terminal.wait_for("no runs yet")
    assert terminal.invisible == ""
    terminal.press("q")
    assert terminal.end_of_program() == 0


def test_with_sixteen_colours_nothing_is_left_to_a_terminal_that_may_be_white(tmp_path: Path):
    command = [sys.executable, "-m", "tltui", "--runs-dir", str(tmp_path), "--no-mouse"]
    terminal = Terminal(command, 80, 24, TERM="xterm", COLORTERM="", XDG_CONFIG_HOME=str(tmp_path / "config"))
    terminal.wait_for("no runs yet")
    assert terminal.left_to_the_terminal == ""
    terminal.press("?")
    terminal.wait_for("new run from the settings form")
    assert terminal.left_to_the_terminal == ""
    terminal.press("qq")  # the first closes the list
    assert terminal.end_of_program() == 0


def test_a_remote_line_gets_fewer_frames_and_no_animation_unless_the_user_says_otherwise():
    remote = {"SSH_CONNECTION": "here there"}
    set_pace(remote)
    assert remote["TEXTUAL_FPS"] == "30"
    assert remote["TEXTUAL_ANIMATIONS"] == "none"
    chosen = {"SSH_CONNECTION": "here there", "TEXTUAL_FPS": "10"}
    set_pace(chosen)
    assert chosen["TEXTUAL_FPS"] == "10"
    local: dict[str, str] = {}
    set_pace(local)
    assert local == {}


@pytest.mark.slow
def test_memory_is_where_it_was_after_a_hundred_thousand_steps(tmp_path: Path):
    folder = RunFolder(tmp_path / "ab12-flowers")
    folder.path.mkdir()
    folder.config.write_text('[data]\npath = "/data/flowers"\n[model]\nname = "resnet18"\n')
    folder.model.write_bytes(as_json(resnet18()))
    events = [*beginning(300, 400), *training(range(1, 120_001), 400)]
    for seq, event in enumerate(events, start=1):
        event.seq, event.time = seq, 1000.0 + seq
    lines = [p.encode(event) for event in events]
    command = [sys.executable, "-m", "tltui", "attach", "ab12", "--runs-dir", str(tmp_path)]
    terminal = Terminal(command, 120, 40, XDG_CONFIG_HOME=str(tmp_path / "config"))
    took = []
    with folder.events.open("ab", buffering=0) as log:
        for at in range(0, len(lines), 500):
            log.write(b"".join(lines[at : at + 500]))
            until = time.monotonic() + 0.15  # the app looks and draws as it does in a long run
            while time.monotonic() < until:
                terminal.read(0.05)
            took.append(psutil.Process(terminal.process.pid).memory_info().rss)
    terminal.wait_for("step 120,000")
    terminal.press("q")
    terminal.end_of_program()
    early, late = max(took[20:40]), min(took[-20:])
    print(f"{early / 1e6:.1f} MB after 20,000 steps, {late / 1e6:.1f} MB after 120,000")  # noqa: T201
    assert late - early < 5e6
