"""How a Python process is started: never with modules from the current folder. Imports no torch.

``python -m`` puts the current folder first on ``sys.path``, so that a ``torch.py`` in a folder of images would be
executed. An empty entry in PYTHONPATH means the current folder, too.
"""

from __future__ import annotations

import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # where the package engine lies


def python_module(name: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module in a process of its own; start it with ``environment()``."""
    return (sys.executable, "-P", "-m", name, *arguments)


def environment(**changes: str) -> dict[str, str]:
    """This process's environment for one that it starts, with ``changes``; what that one starts is as safe."""
    found = {**os.environ, "PYTHONSAFEPATH": "1"}
    entries = [entry for entry in found.pop("PYTHONPATH", "").split(os.pathsep) if entry]
    # In a checkout that is found as the current folder alone, the safe path would not find it any more.
    if not sys.flags.safe_path and os.path.realpath(sys.path[0]) == _ROOT and _ROOT not in entries:
        entries.insert(0, _ROOT)
    return {**found, "PYTHONPATH": os.pathsep.join(entries), **changes}
