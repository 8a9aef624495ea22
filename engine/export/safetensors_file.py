"""The safetensors format: weights for the plain torchvision or timm network."""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from engine.compute.task import Task, open_task
from engine.config.schema import HeadConfig
from engine.errors import InputError, first_line
from engine.evaluation.load_run import TrainedRun
from engine.export.format_writer import FormatWriter, prediction_script
from engine.export.metadata import METADATA_KEY, ExportMetadata, decode, encode
from engine.export.plain_network import PlainNetwork, plain_network
from engine.export.predictor import ComputeOutputs, Predictor, outputs_function
from engine.models import registry
from engine.system.devices import choose_device
from engine.training.checkpoints import to_plain_tensor

_OUTPUTS = """\
{network}
network.load_state_dict(load_file("model.safetensors"))
network.eval()
mean, std = (torch.tensor(how[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
with torch.inference_mode():
    outputs = network((torch.from_numpy(images) / 255 - mean) / std).numpy()
"""


def write(path: Path, trained: TrainedRun, metadata: ExportMetadata) -> None:
    """Write the whole state dict. Raises OSError and safetensors' errors."""
    state = {key: to_plain_tensor(tensor) for key, tensor in trained.classifier.module.state_dict().items()}
    save_file(state, path, {"format": "pt", METADATA_KEY: encode(metadata)})


def reload(path: Path, trained: TrainedRun) -> ComputeOutputs:
    """Load the file into the network as torchvision or timm builds it. Raises InputError."""
    network = plain_network(trained.classifier, len(trained.task.outputs))
    try:
        network.module.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise InputError(
            f"{trained.classifier.name}: {network.library} builds a different network for {len(trained.task.outputs)} "
            f"outputs ({first_line(error)}); use --format onnx"
        ) from None
    return outputs_function(network.module, trained.task, trained.classifier.preprocessing, torch.device("cpu"))


def open_file(path: Path) -> Predictor:
    """Load the file's weights into the network that its metadata names. Raises InputError where they don't fit."""
    metadata = _read_metadata(path)
    try:
        head = HeadConfig(hidden=metadata.hidden)
        task = open_task(metadata.spec)
        size, channels = metadata.preprocessing.image_size, metadata.preprocessing.channels
        network = (metadata.model, len(task.outputs), head, size, channels, metadata.arguments)
        state = load_file(path)
        # Compare shapes on the meta device first: the file may name a network of any size.
        on_meta = registry.build(*network, on_meta=True).module.state_dict()
        if {key: tensor.shape for key, tensor in on_meta.items()} != {key: one.shape for key, one in state.items()}:
            raise InputError(f"{path}: its tensors are not those of {metadata.model}; export the run again")
        classifier = registry.build(*network)
        classifier.module.load_state_dict(state)
    except (OSError, TypeError, RuntimeError, ValidationError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: can't be loaded ({first_line(error)}); export the run again") from None
    compute_outputs = outputs_function(classifier.module, task, metadata.preprocessing, choose_device("auto"))
    return Predictor(task, metadata.preprocessing, compute_outputs)


def _read_metadata(path: Path) -> ExportMetadata:
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: not a safetensors file, or damaged ({first_line(error)})") from None
    return decode(metadata.get(METADATA_KEY), path)


def describe(_metadata: ExportMetadata) -> str:
    """The model card's sentence on the content."""
    return "The weights of the plain torchvision or timm network."


def install(plain: PlainNetwork) -> str:
    """The model card's install command."""
    return f"pip install {plain.library} safetensors"


def script(plain: PlainNetwork, task: Task) -> str:
    """The model card's prediction script."""
    imports = f"import {plain.library}\nimport torch\nfrom safetensors.torch import load_file\n"
    code = _OUTPUTS.format(network="\n".join(plain.code)) + task.export.finish
    return prediction_script(imports, code, task)


WRITER = FormatWriter(write=write, reload=reload, open=open_file, describe=describe, install=install, script=script)
