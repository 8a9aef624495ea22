"""A finding and its recommended remedies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Remedy:
    """A recommendation, in words like "lower the learning rate to 0.001" and as settings by key."""

    words: str
    settings: Mapping[str, Any]

    @property
    def assignments(self) -> str:
        """The settings as run.toml has them: ``optimizer.lr = 0.001, …``."""
        return ", ".join(f"{key} = {json.dumps(value)}" for key, value in self.settings.items())


@dataclass(frozen=True)
class Finding:
    """A rule's ``case``, with a ``sentence`` that gives the metrics behind it.

    - ``anew``: the remedy for a new run like this one.
    - ``now``: the remedy for this run while it trains; None if there is none.
    """

    case: str
    sentence: str
    anew: Remedy
    now: Remedy | None = None


def loss(value: float) -> str:
    """A loss formatted for a sentence: 0.021, 1.37, 4,512."""
    return f"{value:.2g}" if abs(value) < 0.1 else f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
