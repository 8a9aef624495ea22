"""Where the initial weights of each layer come from: loaded, adapted, resampled or random. Imports no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from engine.config.freeze_rules import ancestors
from engine.runs.events import WeightsReport
from tltui.freeze_plan.layer_index import LayerIndex

LOADED, ADAPTED, RESAMPLED, RANDOM, PART_RANDOM = "loaded", "adapted", "resampled", "random", "part random"
Origins = Mapping[str, str]
"""The origin of each layer's weights by path; empty where it is not known yet."""


def reported_origins(network: LayerIndex, report: WeightsReport) -> Origins:
    """The origins that a run reported."""
    if report.source == "none":
        return _origins(network, dict.fromkeys(network.parameters, RANDOM))
    classes = next((network.rows[path].shape[-1:] for path in network.head), ())
    matched = LOADED if (report.head_classes,) == classes else PART_RANDOM
    named = dict.fromkeys(_head_parameters(network), matched if report.head_classes else RANDOM)
    for names, origin in ((report.adapted, ADAPTED), (report.resampled, RESAMPLED), (report.missing, RANDOM)):
        named |= {name: origin for name in names if name.rpartition(".")[0] in network.rows}  # others are not its
    return _origins(network, named)


def expected_origins(network: LayerIndex, weights: str) -> Origins:
    """The origins that follow from ``model.weights`` alone: a file is read when the run begins."""
    match weights:
        case "none":
            return _origins(network, dict.fromkeys(network.parameters, RANDOM))
        case "default":
            return _origins(network, dict.fromkeys(_head_parameters(network), RANDOM))
    return {}


def _origins(network: LayerIndex, named: Mapping[str, str]) -> Origins:
    """``named``: the origins of tensors that are not simply loaded, by name; a row has those of all below it."""
    below: dict[str, set[str]] = defaultdict(set)
    for name, origin in {**dict.fromkeys(network.parameters, LOADED), **named}.items():
        for path in ("", *ancestors(name), name):
            below[path].add(origin)
    return {path: _joined(below[path]) for path in network.rows if path in below}


def _joined(origins: set[str]) -> str:
    if PART_RANDOM in origins or (RANDOM in origins and len(origins) > 1):
        return PART_RANDOM
    return next(origin for origin in (RANDOM, RESAMPLED, ADAPTED, LOADED) if origin in origins)


def _head_parameters(network: LayerIndex) -> list[str]:
    return [name for name in network.parameters if any(name.startswith(f"{path}.") for path in network.head)]
