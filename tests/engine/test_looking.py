"""Images of a run, and where the network looked in them."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections.abc import Callable, Iterable

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.evaluation.gradcam import grad_cam
from engine.process.image_protocol import ImageReply, ImageRequest
from engine.runs.folder import RunFolder
from tests.conftest import Engine


class Bright(nn.Module):
    """Class 1 is where the image is bright, class 0 where it is dark."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.AvgPool2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        brightness = self.features(images).clamp(min=0).mean((1, 2, 3))
        return torch.stack([-brightness, brightness], 1)


class Tokens(Bright):
    """The same with patches in a row behind a class token, as transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.features(images).flatten(2).transpose(1, 2)
        tokens = self.blocks(torch.cat([torch.zeros_like(patches[:, :1]), patches], 1))
        return torch.stack([-tokens.mean((1, 2)), tokens.mean((1, 2))], 1)


@pytest.mark.parametrize(("network", "layer"), [(Bright(), "features"), (Bright(), ""), (Tokens(), "blocks")])
def test_it_is_hot_where_the_class_is(network: nn.Module, layer: str):
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, 4:12, 20:28] = 1.0
    heat = grad_cam(network, layer, image, 1)
    assert heat.shape == (32, 32)
    assert (heat.min(), heat.max()) == (0, 1)
    assert heat[6:10, 22:26].min() > 0.9
    assert heat[20:].max() == heat[:, :14].max() == 0
    assert grad_cam(network, layer, image, 0).max() == 0


def test_a_layer_without_places_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(InputError, match='"3" is not spatial'):
        grad_cam(network, "3", torch.zeros(1, 3, 8, 8), 0)


def answers(folder: RunFolder, asks: Iterable[ImageRequest]) -> list[ImageReply]:
    command = [sys.executable, "-m", "engine.process.image_server", str(folder.path)]
    lines = b"".join(msgspec.json.encode(ask) + b"\n" for ask in asks)
    done = subprocess.run(command, input=lines, capture_output=True, check=True)
    return [msgspec.json.decode(line, type=ImageReply) for line in done.stdout.splitlines()]


def test_a_runs_images_are_shown_and_no_others(engine: Engine, config: Callable[..., RunConfig]):
    folder, state, _ = engine.run(config())
    name = folder.predictions.read_text().splitlines()[1].split(",")[0]
    label = state.evaluations["test"].classes[0]
    plain, hot, other_class, elsewhere = answers(
        folder,
        [
            ImageRequest(1, name, 20, 10),
            ImageRequest(2, name, 400, 400, label=label),
            ImageRequest(3, name, 400, 400, label="\x1b[31m"),
            ImageRequest(4, f"../{name}", 20, 20),
        ],
    )
    assert [one.id for one in (plain, hot, other_class, elsewhere)] == [1, 2, 3, 4]
    small = Image.open(io.BytesIO(base64.b64decode(plain.png)))
    assert small.width <= 20
    assert small.height <= 10
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(hot.png))))
    assert pixels.shape == (32, 32, 3)
    assert (other_class.png, other_class.error) == ("", "the run has no such class")
    assert (elsewhere.png, elsewhere.error) == ("", "this image is not in the dataset any more")


def test_data_that_are_gone_are_said_to_be(engine: Engine, config: Callable[..., RunConfig]):
    folder, _, _ = engine.run(config())
    folder.config.write_text(folder.config.read_text().replace('path = "', 'path = "/nowhere'))
    (answer,) = answers(folder, [ImageRequest(1, "x", 20, 20)])
    assert "there is no such folder" in answer.error
