"""The manual page of each command, named by its ``--help``."""

from __future__ import annotations

from collections.abc import Mapping

PAGES: Mapping[str, str] = {
    "attach": "training",
    "cache": "caching",
    "compare": "experiments",
    "completion": "commands",
    "data": "data",
    "datasets": "data",
    "demo": "quick-start",
    "doctor": "troubleshooting",
    "evaluate": "evaluation",
    "export": "export",
    "help": "commands",
    "inspect": "models",
    "lr-find": "experiments",
    "models": "models",
    "new": "quick-start",
    "predict": "export",
    "probe": "experiments",
    "report": "evaluation",
    "resume": "training",
    "runs": "training",
    "steer": "training",
    "stop": "training",
    "sweep": "experiments",
    "train": "training",
}
