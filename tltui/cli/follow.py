"""Follows a run without the app, as plain text or JSON lines."""

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
    """Shows the events of a run."""

    def show(self, event: AnyEvent) -> None: ...


class JsonLines:
    """Prints each event as a line of JSON on standard output."""

    def show(self, event: AnyEvent) -> None:
        sys.stdout.buffer.write(as_json_line(event) + b"\n")
        sys.stdout.buffer.flush()


def watch(
    folder: RunFolder, process: subprocess.Popen[bytes] | None = None, *, new: bool = False, as_json: bool = False
) -> int:
    """Show a run's events until it ends; returns the exit status for that run.

    ``process`` is the worker if this command started it. Then Ctrl-C and SIGTERM stop the run with a checkpoint, and a
    second Ctrl-C leaves it running. Otherwise Ctrl-C only leaves. A refused ``new`` run leaves no folder.
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
                        say(f"left; run {folder.id} keeps running, `tltui attach {folder.id[:4]}` shows it")
                        return 130
                    send(folder, Stop(id=new_command_id()))
                    say("stopping the run with a checkpoint; Ctrl-C again leaves it running")
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
    """Counts Ctrl-C instead of raising KeyboardInterrupt."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: seen.append(number))
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _passed_on(process: subprocess.Popen[bytes] | None) -> Iterator[None]:
    """Forwards SIGTERM to the worker, since schedulers and containers may signal this process alone."""
    if process is None:
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: process.terminate())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say(text: str) -> None:
    """Print a sentence on standard error."""
    print(f"tltui: {safe(text)}", file=sys.stderr)  # noqa: T201
