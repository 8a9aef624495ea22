"""A prewarmed worker: a process that has imported PyTorch and other libraries before it receives a run.

``python -m engine.process.worker --warm`` waits for a run on standard input, in the format of ``encode_run``. It exits
if the input ends. Importing this module does not import torch.
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


def encode_run(folder: RunFolder) -> bytes:
    """The line that makes a prewarmed worker train this run."""
    return json.dumps(str(folder.path)).encode() + b"\n"


def source_state() -> list[tuple[str, int, int]]:
    """Path, modification time in ns and size in bytes of each of the engine's source files.

    A prewarmed worker is outdated once this has changed.
    """
    files = [(str(path), path.stat()) for path in sorted(Path(__file__).parent.parent.rglob("*.py"))]
    return [(path, stat.st_mtime_ns, stat.st_size) for path, stat in files]


def wait_for_run() -> Path | None:
    """Preload libraries and wait for a run; None if the input ends. Output then goes to the run's engine.log."""
    # The end of input ends it, not a signal. All threads block signals until the worker of the run can answer them.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    preload_libraries()
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        return None
    path = Path(json.loads(line))
    attach_to_run(path)
    return path


def preload_libraries() -> None:
    """Import the libraries that training needs."""
    with suppress(Exception):  # the run raises the error again, and reports it in its events
        for name in ("engine.process.run", "timm", "sklearn.datasets", "sklearn.metrics", "scipy.stats"):
            importlib.import_module(name)


def attach_to_run(path: Path) -> None:
    """Redirect this process as one started for a run: no input, and all output to the run's engine.log."""
    with open(os.devnull, "rb") as no_input, RunFolder(path).open_log() as log:
        for file, descriptor in ((no_input, 0), (log, 1), (log, 2)):
            os.dup2(file.fileno(), descriptor)
