"""Starts Python subprocesses that never import modules from the current folder. Imports no torch.

``python -m`` puts the current folder first on ``sys.path``, so that it would execute a ``torch.py`` in a folder of
images. An empty entry in PYTHONPATH also means the current folder.
"""

from __future__ import annotations

import os
import sys

_ROOT = os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
)  # the parent folder of the package engine


def python_module(name: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module in a subprocess; start it with ``environment()``."""
    return (sys.executable, "-P", "-m", name, *arguments)


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with ``changes``, for a subprocess; its own subprocesses inherit the safe path."""
    found = {**os.environ, "PYTHONSAFEPATH": "1"}
    entries = [entry for entry in found.pop("PYTHONPATH", "").split(os.pathsep) if entry]
    # A checkout that is only importable as the current folder would not be found with the safe path.
    if not sys.flags.safe_path and os.path.realpath(sys.path[0]) == _ROOT and _ROOT not in entries:
        entries.insert(0, _ROOT)
    return {**found, "PYTHONPATH": os.pathsep.join(entries), **changes}
