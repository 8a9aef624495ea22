"""How much of a card's arithmetic is used."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.config.schema import HeadConfig
from engine.models import registry
from tests.benchmarks.speed import machine
from tests.benchmarks.speed.measure import Measurement
from tests.benchmarks.speed.scenarios import NETWORKS


def share_of_peak(
    measurements: Sequence[Measurement], device: torch.device, counts: dict[str, int]
) -> dict[str, float]:
    """The share of the card's bf16 peak over the steady epochs, by "SCENARIO NETWORK WHO"; empty without such a card.

    Only where everything trains: there all do the same arithmetic, and a cache that saves some can't pass for speed.
    """
    peak = machine.bf16_peak(device)
    if peak is None:
        return {}
    found: dict[str, list[float]] = {}
    for one in measurements:
        if one.scenario.startswith("all"):
            # A backward pass costs two forward passes; torch counts grouped convolutions' as if they were dense.
            used = (3 * counts["train"] + counts["val"]) * forward_flops(one.model)
            found.setdefault(f"{one.scenario} {one.model} {one.who}", []).append(used / one.steady_epoch / peak)
    return {name: statistics.fmean(shares) for name, shares in found.items()}


def forward_flops(model: str) -> float:
    """Matrix products and convolutions of one image's forward pass."""
    classifier = registry.build(NETWORKS[model].ours, 2, HeadConfig(), on_meta=True)
    side = classifier.preprocessing.image_size
    with FlopCounterMode(display=False) as counter:
        classifier.module.eval()(torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops()
