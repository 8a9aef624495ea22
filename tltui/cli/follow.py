"""Following a run without the app."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from rich.console import Console

from engine.runs.command_log import new_command_id, send
from engine.runs.commands import Stop
from engine.runs.events import AnyEvent, RunFinished
from engine.runs.folder import RunFolder
from tltui.cli.json_output import as_json as as_json_line
from tltui.cli.progress_text import PlainProgress
from tltui.runs import launch
from tltui.text.glyphs import safe


class View(Protocol):
    """Shows events to whoever asked for them."""

    def show(self, event: AnyEvent) -> None: ...


class JsonLines:
    """Each event as its line of JSON on standard output."""

    def show(self, event: AnyEvent) -> None:
        sys.stdout.buffer.write(as_json_line(event) + b"\n")
        sys.stdout.buffer.flush()


def watch(
    folder: RunFolder, process: subprocess.Popen[bytes] | None = None, *, new: bool = False, as_json: bool = False
) -> int:
    """Show a run's events until its end; returns the exit status that the run deserves.

    ``process`` is the engine where this command started it: then Ctrl-C and SIGTERM ask it to stop in order, and a
    second Ctrl-C leaves it to itself. Else Ctrl-C just leaves. A ``new`` run that is refused leaves no folder.
    """
    console = Console(markup=False, highlight=False)
    shown: AbstractContextManager[View] = nullcontext(JsonLines()) if as_json else PlainProgress(console, folder)
    finished: RunFinished | None = None
    asked = 0
    try:
        with shown as view, _counted_interrupts() as interrupts, _passed_on(process):
            for event in launch.follow(folder, process):
                if event is not None:
                    view.show(event)
                if isinstance(event, RunFinished):
                    finished = event
                if len(interrupts) > asked:
                    asked = len(interrupts)
                    if process is None or asked > 1:
                        say(f"left; run {folder.id} goes on, `tltui attach {folder.id[:4]}` shows it")
                        return 130
                    send(folder, Stop(id=new_command_id()))
                    say("asked the run to stop in order; Ctrl-C again leaves it to itself")
    except launch.EngineLost as lost:
        say(str(lost))
        return 1
    assert finished is not None
    if finished.status == "failed":
        say(finished.reason)
    if new and finished.exit_code == 2:
        shutil.rmtree(folder.path)
    return finished.exit_code


@contextmanager
def _counted_interrupts() -> Iterator[list[int]]:
    """Collects Ctrl-C instead of raising it in the middle of something."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: seen.append(number))
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _passed_on(process: subprocess.Popen[bytes] | None) -> Iterator[None]:
    """Passes SIGTERM on to the engine, which then stops in order: schedulers and containers send it to us alone."""
    if process is None:
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: process.terminate())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say(text: str) -> None:
    """A sentence beside what a command gives, on standard error."""
    print(f"tltui: {safe(text)}", file=sys.stderr)  # noqa: T201
