"""A stranger's run is opened in the real app, on a real terminal, and looked at from every side."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pseudo_terminal import Terminal
from still_life import runs_folder

from tests.faults.hostile_runs import RUNS

NAME = "c0de-flowers-resnet18"
THE_WORST = {
    "escape sequences in every text",
    "a log that is a pipe",
    "figures of 1e308",
    "a rule list that is a number",
    "a step of 400 digits",
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = runs_folder(tmp_path)
    (folder / NAME / "checkpoints").mkdir()
    return folder


@pytest.fixture
def app(runs: Path, tmp_path: Path) -> Iterator[Terminal]:
    command = [sys.executable, "-m", "tltui", "--runs-dir", str(runs)]
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "TLTUI_CACHE": str(tmp_path / "cache")}
    terminal = Terminal(command, 120, 40, folder=tmp_path, **environment)
    yield terminal
    terminal.kill()


def files(folder: Path) -> dict[str, bytes | str]:
    found = {path: path for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
    return {str(path): str(path.readlink()) if path.is_symlink() else path.read_bytes() for path in found}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in THE_WORST else pytest.mark.slow) for name in RUNS if "100 MiB" not in name],
)
def test_a_strangers_run_is_shown_and_obeyed_by_nothing(name: str, runs: Path, tmp_path: Path, app: Terminal):
    RUNS[name](runs / NAME)
    before = files(tmp_path / "runs")
    app.wait_for("b1ee")
    app.press("\r")  # the newest run is the stranger's, or where it can't be listed, the next
    app.wait_for(lambda: "F4" in app.text or "passed over" in app.text or "can't be" in app.text)
    for key in ("\x1bOQ", "\x1bOR", "\x1bOS", "\x1b[15~", "x", "\r", "\x1b"):  # F2 to F5, and what F5 offers
        app.press(key)
        while app.read(0.3):  # until it is drawn
            pass
    app.press("q")
    assert app.end_of_program() == 0, app.text
    for obeyed in (b"\x1b]0;pwned", b"\xc2\x9b", b"\xe2\x80\xae"):
        assert obeyed not in app.seen
    assert files(tmp_path / "runs") == before
