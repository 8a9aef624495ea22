"""A pseudo-terminal with a program on it, and what a terminal would show of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyte

from tests.forked_starts.client import take_terminal


class Terminal:
    """A terminal of ``columns`` by ``rows``; what the program writes is only taken in by the methods that wait."""

    def __init__(
        self, command: Sequence[str], columns: int, rows: int, *, folder: Path | None = None, **environment: str
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.seen = b""
        self.read_at = 0.0
        """When the last of it came, on the monotonic clock."""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        # What another program says of its own terminal's size would be believed before this one's.
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env={**inherited, "TERM": "xterm-256color", **environment},
            start_new_session=True,
            preexec_fn=take_terminal,  # noqa: PLW1509 (no thread runs here)
        )
        os.close(slave)

    @property
    def lines(self) -> list[str]:
        """What one sees."""
        return self._screen.display

    @property
    def text(self) -> str:
        """What one sees, in one piece."""
        return "\n".join(self.lines)

    @property
    def invisible(self) -> str:
        """The characters that have the colour of what is behind them."""
        cells = [cell for row in self._screen.buffer.values() for cell in row.values()]
        return "".join(cell.data for cell in cells if cell.data.strip() and cell.fg == cell.bg != "default")

    @property
    def left_to_the_terminal(self) -> str:
        """The characters that have a colour or a background of the terminal's own, which may be any."""
        cells = [cell for row in self._screen.buffer.values() for cell in row.values()]
        return "".join(cell.data for cell in cells if cell.data.strip() and "default" in (cell.fg, cell.bg))

    def background(self, row: int, column: int) -> str:
        """The colour behind a character."""
        return self._screen.buffer[row][column].bg

    def press(self, keys: str) -> None:
        """Type characters, one after the other."""
        os.write(self.master, keys.encode())

    def read(self, seconds: float) -> bytes:
        """Take in what comes next, if anything does within ``seconds``."""
        waiting = select.poll()  # select itself takes no descriptor beyond 1,023
        waiting.register(self.master, select.POLLIN)
        if not waiting.poll(seconds * 1000):
            return b""
        try:
            came = os.read(self.master, 65536)
        except OSError:  # nobody has the other end any more
            return b""
        self.seen, self.read_at = self.seen + came, time.monotonic()
        self._stream.feed(came)
        return came

    def wait_for(self, sight: str | Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until a text is on the screen, or until something else is so."""
        deadline = time.monotonic() + seconds
        while not (sight in self.text if isinstance(sight, str) else sight()):
            left = deadline - time.monotonic()
            assert left > 0, f"not seen in {seconds} s: {sight}\n{self.text}\n{self.seen[-300:]!r}"
            self.read(min(left, 0.1))

    def end_of_program(self, seconds: float = 10.0) -> int:
        """Wait for the program to end, reading what it still says; returns its exit status."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.05)
        while self.read(0.05):
            pass
        return self.process.wait(0)

    def close(self) -> None:
        """Close the window."""
        os.close(self.master)

    def kill(self) -> None:
        """End the program if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
