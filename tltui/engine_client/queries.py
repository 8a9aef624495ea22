"""Queries that need torch: each runs in a subprocess, so that the app never imports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config.layer_tree import LayerTree
from engine.costs.estimate import Profile
from engine.data.scan_results import DatasetScan
from engine.system.interpreter import python_module
from tltui.engine_client.json_lines import request

_ENGINE = "the engine"  # in error sentences


@dataclass(frozen=True)
class NetworkEntry:
    """A network that can be trained. ``weights``: "here", "download" or "none"."""

    name: str
    parameters: int | None
    accuracy: float | None
    weights: str


@dataclass(frozen=True)
class TreeKey:
    """Key of a layer tree: everything that its layers and shapes depend on."""

    model: str
    classes: int
    image_size: int
    hidden: tuple[int, ...]
    channels: int = 3


@dataclass(frozen=True)
class ProfileKey:
    """Key of a profile: everything that its timings depend on, this machine aside."""

    tree: TreeKey
    device: str
    precision: str
    batch_size: int


class EngineQueries:
    """Runs each query once and memoizes its result, but no failure."""

    def __init__(
        self,
        inspect: Sequence[str] = python_module("tltui", "inspect"),
        models: Sequence[str] = python_module("tltui", "models"),
        data: Sequence[str] = python_module("tltui", "data"),
    ) -> None:
        self._inspect = tuple(inspect)
        self._models = tuple(models)
        self._data = tuple(data)
        self._trees: dict[TreeKey, LayerTree] = {}
        self._networks: dict[str, list[NetworkEntry]] = {}

    async def layer_tree(self, key: TreeKey) -> LayerTree:
        """The layer tree of a network. Raises InputError with the engine's reason."""
        if key not in self._trees:
            self._trees[key] = await request([*self._inspect, *_network(key), "--json"], _ENGINE, LayerTree)
        return self._trees[key]

    async def profile(self, key: ProfileKey) -> Profile:
        """Timings of a network's operations on this machine, measured now unless cached.

        Raises InputError with the engine's reason.
        """
        settings = ["--device", key.device, "--precision", key.precision, "--batch-size", str(key.batch_size)]
        command = [*self._inspect, *_network(key.tree), "--profile", *settings, "--json"]
        return await request(command, _ENGINE, Profile)

    async def networks(self, family: str = "") -> list[NetworkEntry]:
        """The networks that ``model.name`` takes: torchvision's, or those of "timm/", which take longer to list.

        Raises InputError with the engine's reason.
        """
        if family not in self._networks:
            command = [*self._models, *filter(None, [family]), "--json"]
            self._networks[family] = await request(command, _ENGINE, list[NetworkEntry])
        return self._networks[family]

    async def scan(self, path: Path) -> DatasetScan:
        """What a dataset's files hold; an engine that scanned them before is quick. Raises InputError with its reason.

        It is asked each time, since files may have changed. A query that is cancelled ends its process.
        """
        return await request([*self._data, str(path.absolute()), "--json"], _ENGINE, DatasetScan)


def _network(key: TreeKey) -> list[str]:
    arguments = [key.model, "--classes", str(key.classes), "--image-size", str(key.image_size)]
    arguments += ["--channels", str(key.channels)]
    for width in key.hidden:
        arguments += ["--hidden", str(width)]
    return arguments
