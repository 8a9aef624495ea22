"""Shows a run in the app, as plain progress, as JSON, or not at all. Imports nothing heavy before that."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.files.escapes import printable
from tltui.cli import json_output

if TYPE_CHECKING:
    from subprocess import Popen

    from engine.runs.folder import RunFolder


def show_run(
    ctx: click.Context,
    folder: RunFolder,
    process: Popen[bytes],
    appearance: dict[str, Any],
    *,
    new: bool,
    detach: bool,
    headless: bool,
    as_json: bool,
) -> None:
    """Show a run that was just started, as the options say, and end the command."""
    from tltui.cli.follow import watch

    if detach:
        click.echo(_detached(folder.id, str(folder.path)) if as_json else printable(folder.id))
    elif shows_app(headless=headless or as_json):
        ctx.exit(open_app(folder.path.parent, folder, appearance))
    else:
        ctx.exit(watch(folder, process, new=new, as_json=as_json))


def shows_app(*, headless: bool) -> bool:
    """Whether the command opens the app; prints the reason if it can't."""
    from tltui.app import terminal

    if headless:
        return False
    refusal = terminal.why_no_app()
    if refusal and sys.stdout.isatty():
        click.echo(f"tltui: {refusal}; here is plain progress instead", err=True)
    return not refusal


def open_app(runs_dir: Path, run: RunFolder | None, appearance: dict[str, Any], *, folds: str = "") -> int:
    """Open the app, on a run or a cross-validation if one is named; returns the exit status."""
    from tltui.app import terminal

    terminal.set_pace(os.environ)
    from tltui.app.app import run_app

    status = run_app(
        runs_dir,
        open_run=run,
        open_folds=folds,
        mouse=not appearance["no_mouse"],
        ascii_only=appearance["ascii_only"],
        marker=appearance["marker"],
        images=appearance["images"],
        theme=appearance["theme"],
    )
    if run is not None and status != terminal.HUNG_UP:
        from engine.runs.lock import is_locked

        if is_locked(run):
            click.echo(printable(f"run {run.id} keeps running; `tltui attach {run.id[:4]}` shows it"))
    return status


def _detached(run: str, path: str) -> bytes:
    return json_output.as_json({"run": run, "path": path})
