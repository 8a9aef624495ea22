"""Weights for the plain torchvision or timm network."""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from engine.config.schema import HeadConfig
from engine.errors import InputError, first_line
from engine.evaluation.load_run import Trained
from engine.export import metadata as abouts
from engine.export.metadata import About
from engine.export.plain_network import plain_network
from engine.export.predictor import Answer, Opened, answer_with
from engine.models import registry
from engine.system.devices import choose_device
from engine.training.checkpoints import to_plain_tensor

FILE = "model.safetensors"


def write(path: Path, trained: Trained, about: About) -> None:
    """Write the network's whole state dict. Raises OSError and what safetensors raises."""
    state = {key: to_plain_tensor(tensor) for key, tensor in trained.classifier.module.state_dict().items()}
    save_file(state, path, {"format": "pt", abouts.KEY: abouts.encode(about)})


def load_again(path: Path, trained: Trained) -> Answer:
    """The file in the network as its library builds it, as others will load it. Raises InputError."""
    network = plain_network(trained.classifier, len(trained.classes))
    try:
        network.module.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise InputError(
            f"{trained.classifier.name}: {network.library} builds another network for {len(trained.classes)} classes "
            f"({first_line(error)}); use --format onnx"
        ) from None
    return answer_with(network.module, trained.classifier.preprocessing, torch.device("cpu"))


def open_export(path: Path) -> Opened:
    """The file's weights in the network that it names. Raises InputError where they don't fit."""
    about = _read_about(path)
    try:
        head = HeadConfig(hidden=about.hidden)
        arguments = (about.model, len(about.classes), head, about.preprocessing.image_size)
        state = load_file(path)
        # Shapes are compared before memory is taken: the file may name any size.
        wanted = {
            key: tensor.shape for key, tensor in registry.build(*arguments, on_meta=True).module.state_dict().items()
        }
        if wanted != {key: tensor.shape for key, tensor in state.items()}:
            raise InputError(f"{path}: its tensors are not those of {about.model}; export it anew")
        classifier = registry.build(*arguments)
        classifier.module.load_state_dict(state)
    except (OSError, RuntimeError, ValidationError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: can't be loaded ({first_line(error)}); export it anew") from None
    answer = answer_with(classifier.module, about.preprocessing, choose_device("auto"))
    return Opened(about.classes, about.preprocessing, answer)


def _read_about(path: Path) -> About:
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: not a safetensors file, or damaged ({first_line(error)})") from None
    return abouts.decode(metadata.get(abouts.KEY), path)
