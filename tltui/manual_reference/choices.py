"""What can be chosen for a sweep, from its registries."""

from __future__ import annotations

from engine.experiments.sweep.samplers import PRUNERS, SAMPLERS
from tltui.manual_reference.words import prose


def samplers() -> str:
    """Every sampler, with its help."""
    return "\n".join(f"- `{name}`: {prose(sampler.help)}" for name, sampler in SAMPLERS.items())


def pruners() -> str:
    """Every pruner, with its help."""
    return "\n".join(f"- `{name}`: {prose(pruner.help)}" for name, pruner in PRUNERS.items())
