"""Questions to the engine that need torch: asked in a process of their own, so that the app never imports it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from engine.costs.estimate import Profile
from engine.errors import InputError
from engine.system.interpreter import environment, python_module


@dataclass(frozen=True)
class NetworkEntry:
    """A network that can be trained, by name. ``weights``: "here", "download" or "none"."""

    name: str
    parameters: int | None
    accuracy: float | None
    weights: str


@dataclass(frozen=True)
class TreeKey:
    """Which layer tree is meant: all that its shape depends on."""

    model: str
    classes: int
    image_size: int
    hidden: tuple[int, ...]


@dataclass(frozen=True)
class ProfileKey:
    """Which measurements are meant: all that they depend on, this machine aside."""

    tree: TreeKey
    device: str
    precision: str
    batch_size: int


class EngineQueries:
    """Asks each question once; an answer is kept, a failure is not."""

    def __init__(
        self,
        inspect: Sequence[str] = python_module("tltui", "inspect"),
        models: Sequence[str] = python_module("tltui", "models"),
    ) -> None:
        self._inspect = tuple(inspect)
        self._models = tuple(models)
        self._trees: dict[TreeKey, dict[str, Any]] = {}
        self._networks: dict[str, list[NetworkEntry]] = {}

    async def layer_tree(self, wanted: TreeKey) -> dict[str, Any]:
        """The content of model.json. Raises InputError with what the engine said."""
        if wanted not in self._trees:
            self._trees[wanted] = await _ask([*self._inspect, *_network(wanted), "--json"])
        return self._trees[wanted]

    async def profile(self, wanted: ProfileKey) -> Profile:
        """What a network's operations cost on this machine, measured now unless it is known.

        Raises InputError with what the engine said.
        """
        settings = ["--device", wanted.device, "--precision", wanted.precision, "--batch-size", str(wanted.batch_size)]
        answer = await _ask([*self._inspect, *_network(wanted.tree), "--profile", *settings, "--json"])
        try:
            return msgspec.convert(answer, Profile)
        except msgspec.ValidationError as error:
            raise InputError(f"the engine's measurements can't be read ({error})") from None

    async def networks(self, family: str = "") -> list[NetworkEntry]:
        """The networks that can be used by name: torchvision's, or those of "timm/", which take longer to list.

        Raises InputError with what the engine said.
        """
        if family not in self._networks:
            answer = await _ask([*self._models, *filter(None, [family]), "--json"])
            self._networks[family] = [
                NetworkEntry(entry["name"], entry["parameters"], entry["accuracy"], entry["weights"])
                for entry in answer
            ]
        return self._networks[family]


def _network(wanted: TreeKey) -> list[str]:
    arguments = [wanted.model, "--classes", str(wanted.classes), "--image-size", str(wanted.image_size)]
    for width in wanted.hidden:
        arguments += ["--hidden", str(width)]
    return arguments


async def _ask(command: Sequence[str]) -> Any:  # noqa: ANN401 (whatever JSON the command prints)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,  # a ctrl+c meant for the app does not reach it
    )
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode == 0:
        try:
            return json.loads(output)
        except ValueError:
            raise InputError("the engine's answer can't be read; `tltui doctor` shows what is installed") from None
    if said := errors.decode(errors="replace").strip().splitlines():
        raise InputError(said[-1].removeprefix("tltui: "))
    raise InputError(f"the engine ended with status {process.returncode} and said nothing")
