"""Asks the server for a process in place of fork and exec."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine.system.interpreter import environment, python_module

STREAMS = 3  # standard input, output and error come first in a message's descriptors
MAX_MESSAGE = 1 << 17  # bytes
_COMMAND_LINE = 4000  # bytes that are shown of a forked process's command line
_MODULES = ("engine.", "tltui", "tests.forked_starts.facts")  # beginnings of their names
_ROOT = str(Path(__file__).resolve().parents[2])
# Beginnings of variables that are only read where they are used, and not while libraries are imported.
_FREE_NAMES = (
    *("COLUMNS", "COMP_", "LINES", "NO_COLOR", "OMP_NUM_THREADS", "PYTEST_", "PYTHONSAFEPATH", "TERM", "TEXTUAL_SNAP"),
    *("TLTUI_", "_TLTUI_"),
    *("KMP_", "OMP_WAIT_POLICY"),  # imports set these, and the server's imports too
)
_SET_CHILD_SUBREAPER = 36  # prctl


class Start(msgspec.Struct):
    """A process to fork. ``ignored`` and ``blocked`` are signals; ``kept`` are numbers of descriptors it inherits."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    ignored: list[int]
    blocked: list[int]
    umask: int
    kept: list[int]
    new_session: bool
    process_group: int
    has_terminal: bool


def take_terminal() -> None:
    """Make standard input the controlling terminal of this process; for ``Popen(preexec_fn=…)``."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Client:
    """Forks through a server; the server starts with the first process, unless there is one in ``connection``."""

    def __init__(self, environment: Mapping[str, str], connection: socket.socket | None = None) -> None:
        self.enabled = True
        self._environment = _fixed(environment)
        self._connection = connection
        self._lock = threading.Lock()
        self._fork_exec: Callable[..., int] = subprocess._fork_exec  # type: ignore[attr-defined]

    def install(self) -> None:
        """Take the place of fork and exec in ``subprocess``."""
        subprocess._fork_exec = self._start  # type: ignore[attr-defined]

    def uninstall(self) -> None:
        """Leave ``subprocess`` as it was, and end the server."""
        subprocess._fork_exec = self._fork_exec  # type: ignore[attr-defined]
        if self._connection:
            self._connection.close()

    def _start(self, *given: Any) -> int:  # noqa: ANN401
        """The process id; ``given`` are the arguments of CPython's ``_posixsubprocess.fork_exec``."""
        command, _, close_fds, kept, folder, variables = given[:6]
        p2cread, _, _, c2pwrite, _, errwrite, _, errpipe = given[6:14]
        _, new_session, process_group, gid, gids, uid, umask, preexec = given[14:22]
        found = _module([os.fsdecode(word) for word in command])
        asked = dict(os.environ) if variables is None else _variables(variables)
        folder = os.getcwd() if folder is None else os.fsdecode(folder)
        if (
            not (self.enabled and sys.platform == "linux")
            or found is None
            or not close_fds
            or (gid, gids, uid) != (None, None, None)
            or preexec not in (None, take_terminal)
            or not os.path.isdir(folder)
            or _fixed(asked) != self._environment
        ):
            return self._fork_exec(*given)
        kept = [number for number in kept if number != errpipe]
        start = Start(
            module=found[0],
            arguments=found[1],
            folder=folder,
            environment=asked,
            ignored=[one for one in signal.valid_signals() if signal.getsignal(one) is signal.SIG_IGN],
            blocked=list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            umask=_umask() if umask < 0 else umask,
            kept=kept,
            new_session=bool(new_session),
            process_group=process_group,
            has_terminal=preexec is take_terminal,
        )
        streams = [own if own >= 0 else number for number, own in enumerate((p2cread, c2pwrite, errwrite))]
        with self._lock:
            return self._ask(start, [*streams, *kept])

    def _ask(self, start: Start, descriptors: Sequence[int]) -> int:
        if self._connection is None:
            self._connection = self._start_server()
        _adopt_orphans(True)  # the process that forks the wanted one ends, and leaves it to this one
        try:
            socket.send_fds(self._connection, [msgspec.json.encode(start)], descriptors)
            answer = self._connection.recv(MAX_MESSAGE)
        finally:
            _adopt_orphans(False)
        if not answer:
            raise ChildProcessError("the server that forks the processes of tests could not fork one")
        return int(answer)

    def _start_server(self) -> socket.socket:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._server = subprocess.Popen(
                python_module("tests.forked_starts.server", str(there.fileno()), " " * _COMMAND_LINE),
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
            )
        return here


def _module(command: list[str]) -> tuple[str, list[str]] | None:
    """Module and arguments of a command that may be forked."""
    python, *rest = command
    rest = rest[1:] if rest[:1] == ["-P"] else rest
    if python != sys.executable or rest[:1] != ["-m"] or not rest[1].startswith(_MODULES):
        return None
    return rest[1], rest[2:]


def _variables(lines: Sequence[bytes]) -> dict[str, str]:
    return dict(os.fsdecode(line).split("=", 1) for line in lines)


def _fixed(variables: Mapping[str, str]) -> dict[str, str]:
    """Without the variables that may differ between the server and a process that it forks."""
    entries = [entry for entry in variables.get("PYTHONPATH", "").split(os.pathsep) if entry not in ("", _ROOT)]
    kept = {name: value for name, value in variables.items() if not name.startswith(_FREE_NAMES)}
    return {**kept, "PYTHONPATH": os.pathsep.join(entries)}


def _umask() -> int:
    number = os.umask(0o077)
    os.umask(number)
    return number


def _adopt_orphans(adopt: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
