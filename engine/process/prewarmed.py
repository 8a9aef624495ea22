"""A warm engine: a process that has imported what training needs before there is anything to train.

``python -m engine.process.worker --warm`` waits for a run on standard input, as ``as_line`` writes it. Where the
input ends instead, because whoever started it is gone, it leaves. Imports no torch before that.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from engine.runs.folder import RunFolder
from engine.system.process_signals import ENDING


def as_line(folder: RunFolder) -> bytes:
    """What tells a warm engine to train this run."""
    return json.dumps(str(folder.path)).encode() + b"\n"


def code_state() -> list[tuple[str, int, int]]:
    """Path, time of change and size of each of the engine's files: others after an update, or an edit.

    A warm engine is what a process that starts now would be as long as this is what it was.
    """
    found = [(str(path), path.stat()) for path in sorted(Path(__file__).parent.parent.rglob("*.py"))]
    return [(path, stat.st_mtime_ns, stat.st_size) for path, stat in found]


def wait_for_run() -> Path | None:
    """Import everything, then wait for a run; None if none will come. From then on all output goes to its log."""
    # It goes with its input. A signal to all processes waits, in all threads to come, until the engine can answer.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    import_everything()
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        return None
    path = Path(json.loads(line))
    become_engine_of(path)
    return path


def import_everything() -> None:
    """Import what training needs."""
    with suppress(Exception):  # the run will meet it again, and tell of it in its events
        for name in ("engine.process.run", "timm", "sklearn.datasets", "sklearn.metrics", "scipy.stats"):
            importlib.import_module(name)


def become_engine_of(path: Path) -> None:
    """Let this process be as one that was started for a run: no input, all output to the run's log."""
    with open(os.devnull, "rb") as nothing, RunFolder(path).open_log() as log:
        for opened, standard in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(opened.fileno(), standard)
