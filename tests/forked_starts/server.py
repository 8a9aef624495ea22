"""The process that forks: ``python -m tests.forked_starts.server DESCRIPTOR ROOM``; it ends with its connection.

ROOM is any text as long as the command line of a process that it forks may be.

It computes nothing, because the threads of numerical libraries do not survive a fork.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import io
import os
import runpy
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np
import torch

from tests.forked_starts.client import MAX_MESSAGE, STREAMS, Client, Start, take_terminal

_PRELOADED = (
    "tests.forked_starts.preloaded",
    *("tltui.cli.main", "engine.process.worker", "engine.experiments.server.server"),
)
_ABOVE = 200  # received descriptors wait above the numbers at which processes want them
_MAX_DESCRIPTORS = 64


def serve(connection: socket.socket) -> Start | None:
    """Fork a process for each message. Returns its ``Start``, in each process; None at the end of the connection."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, MAX_MESSAGE, _MAX_DESCRIPTORS)
        if not message:
            return None
        reading, writing = os.pipe()
        if _fork_orphan():
            connection.close()
            os.close(reading)
            start = msgspec.json.decode(message, type=Start)
            descriptors.append(writing)
            _attach(start, descriptors)
            return start
        for descriptor in (*descriptors, writing):
            os.close(descriptor)
        connection.send(os.read(reading, 32))
        os.close(reading)


def _fork_orphan() -> bool:
    """Fork a process whose parent ends at once, so that the process that asked adopts it. Returns True in it."""
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return False
    parent = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == parent:
        time.sleep(0.0005)
    return True


def _attach(start: Start, descriptors: list[int]) -> None:
    """Make this process what exec would have made it; then write its process id to the last of the descriptors."""
    if start.new_session:
        os.setsid()
    elif start.process_group >= 0:
        os.setpgid(0, start.process_group)
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    done = moved.pop()
    for descriptor, number in zip(moved, [*range(STREAMS), *start.kept], strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if start.has_terminal:
        take_terminal()
    os.chdir(start.folder)
    os.umask(start.umask)
    os.environ.clear()
    os.environ.update(start.environment)
    _open_streams()
    _show_command([sys.executable, "-P", "-m", start.module, *start.arguments])
    if threads := start.environment.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    np.random.seed()  # or it would be that of all processes
    if signal.SIGINT not in start.ignored:  # the server ignores it where it was started in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in start.ignored:
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_IGN)
    os.write(done, str(os.getpid()).encode())
    os.close(done)


def _open_streams() -> None:
    """As the interpreter does when it starts: lines go to a terminal one by one."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        mode, buffering = ("wb", 0 if unbuffered else -1) if number else ("rb", -1)
        binary = open(number, mode, buffering, closefd=False)  # noqa: SIM115
        stream = io.TextIOWrapper(
            binary,
            old.encoding,
            old.errors,
            line_buffering=not unbuffered and (number == 2 or binary.isatty()),
            write_through=bool(number) and unbuffered,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _show_command(command: list[str]) -> None:
    """Write a command line over this process's own, for those who look at ``/proc``."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])  # arg_start and arg_end
    shown = os.fsencode("\0".join(command))[: end - begin - 1]
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, shown, len(shown))


def _fork_server(environment: dict[str, str]) -> Client:
    """A server for the processes that this one starts: from then on this one's modules and threads are its own."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        here.close()
        no_file = os.open(os.devnull, os.O_RDWR)
        for number in range(STREAMS):
            os.dup2(no_file, number)
        os.close(no_file)
        _run(there)
    there.close()
    return Client(environment, here)


def _run(connection: socket.socket) -> NoReturn:
    """Serve; in a process that was forked, run its module and exit as the interpreter does."""
    start = serve(connection)
    if start is None:
        os._exit(0)
    _fork_server(start.environment).install()
    signal.pthread_sigmask(signal.SIG_SETMASK, start.blocked)
    sys.argv = ["", *start.arguments]
    sys.modules.pop(start.module, None)  # it is run once more, as __main__
    status = 0
    try:
        runpy.run_module(start.module, run_name="__main__", alter_sys=True)
    except SystemExit as ending:
        status = _exit_status(ending.code)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        status = status or 120
    os._exit(status)


def _exit_status(code: object) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    print(code, file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for module in _PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    _run(socket.socket(fileno=int(sys.argv[1])))
