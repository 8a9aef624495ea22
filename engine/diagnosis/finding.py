"""What a rule says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Remedy:
    """What to do, in words like "lower the rate to 0.001", and as settings by key."""

    words: str
    settings: Mapping[str, Any]

    @property
    def assignments(self) -> str:
        """The settings as run.toml has them: ``optimizer.lr = 0.001, …``."""
        return ", ".join(f"{key} = {json.dumps(value)}" for key, value in self.settings.items())


@dataclass(frozen=True)
class Finding:
    """A ``case`` and a ``sentence`` with the numbers that it rests on; ``anew``: what helps another run like this one;
    ``now``: what can still be changed while this one trains, None where nothing can."""

    case: str
    sentence: str
    anew: Remedy
    now: Remedy | None = None


def loss(value: float) -> str:
    """A loss as a sentence gives it: 0.0213, 1.37, 4,512."""
    return f"{value:.2g}" if abs(value) < 0.1 else f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
