"""The app on a real terminal, and what it does when that goes away."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tltui.terminal import set_pace

APP = (
    "import os, sys; from pathlib import Path; from tltui.terminal import set_pace; set_pace(os.environ); "
    "from tltui.app import run_app; sys.exit(run_app(Path(sys.argv[1]), mouse=False))"
)
LEAVE_ALTERNATE_SCREEN = b"\x1b[?1049l"


class Terminal:
    """A pseudo-terminal of 80×24 with the app on it."""

    def __init__(self, runs_dir: Path) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "XDG_CONFIG_HOME": str(runs_dir / "config")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", APP, str(runs_dir)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 (no thread runs here)
        )
        os.close(slave)
        self.seen = b""

    def read_until(self, text: bytes, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, self.seen[-2000:]
            if select.select([self.master], [], [], left)[0]:
                self.seen += os.read(self.master, 65536)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path)
    opened.read_until(b"no runs yet")
    yield opened
    opened.end()


def test_the_app_leaves_the_terminal_as_it_was_when_it_is_left(terminal: Terminal):
    os.write(terminal.master, b"q")
    terminal.read_until(LEAVE_ALTERNATE_SCREEN)
    assert terminal.process.wait(5) == 0


def test_a_termination_is_orderly(terminal: Terminal):
    terminal.process.send_signal(signal.SIGTERM)
    terminal.read_until(LEAVE_ALTERNATE_SCREEN)
    assert terminal.process.wait(5) == 128 + signal.SIGTERM


def test_an_app_whose_terminal_is_closed_ends_within_seconds(terminal: Terminal):
    os.close(terminal.master)
    assert terminal.process.wait(5) == 128 + signal.SIGHUP


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
