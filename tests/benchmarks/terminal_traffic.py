"""What the app sends to a terminal of 120×40 while a run trains, what it takes of a core, and how soon a key is seen.

    python -m tests.benchmarks.terminal_traffic [--json FILE] [--engine] [--seconds 20]

A process writes real steps and epochs into a run's folder (with ``--engine``: the engine, training the demo). The app
follows it in a pseudo-terminal of 24-bit colour; beside it, on the same run, an app that draws the same curves with
plotext, all of them four times a second, as a plain chart widget does.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from engine.runs.command_log import CommandTail, new_command_id, send
from engine.runs.commands import Pause, Stop
from engine.runs.event_log import EventLog, EventTail
from engine.runs.events import CommandApplied
from engine.runs.folder import RunFolder
from engine.runs.lock import Lock
from engine.runs.state import RunState, fold
from tests.benchmarks.test_interface_speed import curves_of
from tests.ui.folded_runs import beginning, training
from tests.ui.networks import as_json, resnet18
from tests.ui.pseudo_terminal import Terminal
from tltui.runs import launch
from tltui.settings.demo import demo_config

COLUMNS, ROWS = 120, 40
EPOCHS, STEPS_PER_EPOCH, STEPS_PER_SECOND = 100, 40, 20
SETTLED = 3.0  # seconds after which an app that was opened has drawn all there is
KEYS = 100
FORKS = ((os.cpu_count() or 1) - 1).bit_length()  # each doubles the processes
F2 = "\x1bOQ"


def write_run(path: Path) -> None:
    """A run as the engine would write it, at an even pace until it is stopped."""
    folder = RunFolder(path)
    lock = Lock(folder)
    log, commands = EventLog(folder), CommandTail(folder)
    for event in beginning(EPOCHS, STEPS_PER_EPOCH):
        log.write(event)
    last = EPOCHS * STEPS_PER_EPOCH
    events = training(range(1, last + 1), STEPS_PER_EPOCH)
    due, paused = time.monotonic(), False
    while events:
        for command in commands.poll():
            if isinstance(command, Stop):
                return
            if isinstance(command, Pause):
                paused = True
                log.write(CommandApplied(command=command, step=last))
        due += 1 / STEPS_PER_SECOND
        if not paused:
            log.write(events.pop(0))
        time.sleep(max(0.0, due - time.monotonic()))
    del lock


@contextmanager
def a_run(folder: Path, real_engine: bool) -> Iterator[RunFolder]:
    """A run that trains until the block is left."""
    if real_engine:
        run, process = launch.start(folder, demo_config({"train.epochs": "200"}))
    else:
        run = RunFolder(folder / "ab12-flowers")
        run.path.mkdir(parents=True)
        run.config.write_text('[data]\npath = "/data/flowers"\n[model]\nname = "resnet18"\n[train]\nepochs = 100\n')
        run.model.write_bytes(as_json(resnet18()))
        process = subprocess.Popen([sys.executable, "-m", __spec__.name, "--write", str(run.path)])
    tail, state = EventTail(run), RunState()
    while not state.steps:
        for event in tail.poll():
            fold(state, event)
        time.sleep(0.1)
    try:
        yield run
    finally:
        send(run, Stop(id=new_command_id()))
        process.wait(60)


@contextmanager
def busy_cores() -> Iterator[None]:
    """As many processes as there are cores, each taking one, in a session of their own that gives way as the engine."""
    lower = "import os; from engine.process.worker import lower_priority; lower_priority()"
    burn = f"{lower}; [os.fork() for _ in range({FORKS})]"
    burning = subprocess.Popen([sys.executable, "-c", f"{burn}\nwhile True: pass"], start_new_session=True)
    try:
        yield
    finally:
        os.killpg(burning.pid, signal.SIGKILL)
        burning.wait()


@contextmanager
def on_a_terminal(*command: str) -> Iterator[Terminal]:
    """A program that has drawn what there is so far."""
    terminal = Terminal([sys.executable, "-m", *command], COLUMNS, ROWS, COLORTERM="truecolor")
    try:
        terminal.wait_for("loss")
        watch(terminal, SETTLED)
        yield terminal
    finally:
        terminal.kill()


def watch(terminal: Terminal, seconds: float) -> dict[str, float]:
    """Bytes a second that come, and the share of a core that the program takes."""
    process = psutil.Process(terminal.process.pid)
    sent, used, start = len(terminal.seen), sum(process.cpu_times()[:2]), time.monotonic()
    while time.monotonic() - start < seconds:
        terminal.read(0.2)
    took = time.monotonic() - start
    return {
        "bytes_per_second": round((len(terminal.seen) - sent) / took, 1),
        "core_share": round((sum(process.cpu_times()[:2]) - used) / took, 4),
    }


def keys_to_paint(terminal: Terminal, first: int) -> dict[str, float]:
    """Milliseconds from a key that moves a cursor from the ``first`` row, or back, until its bar stands there."""
    bar = terminal.background(first, 3)
    times = []
    for at in range(KEYS):
        row = first if at % 2 else first + 1
        sent = time.monotonic()
        terminal.press("\x1b[A" if at % 2 else "\x1b[B")
        while terminal.background(row, 3) != bar:
            came = terminal.read(5)
            assert came, terminal.text
        times.append(1000 * (terminal.read_at - sent))
        watch(terminal, 0.13)
    cuts = statistics.quantiles(times, n=100)
    return {"p50_ms": round(cuts[49], 1), "p95_ms": round(cuts[94], 1), "max_ms": round(max(times), 1)}


def measure(real_engine: bool, seconds: float) -> dict[str, dict[str, float]]:
    """All figures, the app's and the plain chart's, in one run of this program."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, a_run(Path(folder), real_engine) as run:
        with on_a_terminal("tltui", "attach", str(run.path)) as terminal:
            found["app, training"] = watch(terminal, seconds)
            terminal.press(F2)
            watch(terminal, 1.0)
            with busy_cores():
                found["app, training on all cores"] = watch(terminal, seconds) | keys_to_paint(terminal, 2)
        with on_a_terminal("tests.benchmarks.plain_chart", str(run.path)) as terminal:
            found["plain chart, training"] = watch(terminal, seconds)
            with busy_cores():
                found["plain chart, training on all cores"] = watch(terminal, seconds) | keys_to_paint(terminal, 0)
        with on_a_terminal("tltui", "attach", str(run.path)) as terminal:
            send(run, Pause(id=new_command_id()))
            terminal.wait_for("paused")
            watch(terminal, SETTLED)
            found["app, paused"] = watch(terminal, seconds)
    anew, more = curves_of(200_000)
    found["curves of 200,000 steps"] = {"drawing_ms": round(anew, 1), "one_step_more_ms": round(more, 2)}
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--engine", action="store_true", help="let the engine train the demo instead")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each watch")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_run(arguments.write)
        return
    found = measure(arguments.engine, arguments.seconds)
    for what, figures in found.items():
        print(f"{what:34}", "   ".join(f"{value:>9,} {name}" for name, value in figures.items()))  # noqa: T201
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
