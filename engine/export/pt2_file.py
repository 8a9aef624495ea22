"""The pt2 format: a torch.export program, which needs torch alone."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from engine.compute.task import Task, open_task
from engine.errors import InputError, first_line
from engine.evaluation.load_run import TrainedRun
from engine.export.format_writer import FormatWriter, prediction_script
from engine.export.metadata import METADATA_KEY, ExportMetadata, encode
from engine.export.plain_network import PlainNetwork
from engine.export.predictor import ComputeOutputs, FromPixels

_OUTPUTS = """\
network = torch.export.load("model.pt2").module()
with torch.inference_mode():
    outputs = network(torch.from_numpy(images)).numpy()
"""


def export_program(trained: TrainedRun) -> torch.export.ExportedProgram:
    """Export the network with torch.export: uint8 images to the task's outputs, any batch size. Raises InputError."""
    preprocessing = trained.classifier.preprocessing
    module = FromPixels(trained.classifier.module, trained.task, preprocessing, torch.device("cpu")).eval()
    example = torch.zeros(2, *preprocessing.input_shape, dtype=torch.uint8)
    dynamic_shapes = {"images": {0: torch.export.Dim("batch")}}
    try:
        with torch.no_grad():
            return torch.export.export(module, (example,), dynamic_shapes=dynamic_shapes)
    except Exception as error:  # the tracer raises nearly any class
        raise InputError(
            f"{trained.classifier.name} can't be exported with torch.export ({first_line(error)}); "
            "use --format safetensors"
        ) from error


def write(path: Path, trained: TrainedRun, metadata: ExportMetadata) -> None:
    """Write the program. Raises InputError and OSError."""
    content = io.BytesIO()  # torch's own file writer aborts the process on a full disk
    torch.export.save(export_program(trained), content, extra_files={f"{METADATA_KEY}.json": encode(metadata)})
    path.write_bytes(content.getbuffer())


def reload(path: Path, _trained: TrainedRun) -> ComputeOutputs:
    """Load a program written just now. Never for files of other origin: loading one can run code."""
    module = torch.export.load(path).module()

    def compute_outputs(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return module(images)

    return compute_outputs


def describe(metadata: ExportMetadata) -> str:
    """The model card's sentences on the content."""
    shape, task = metadata.input_shape, open_task(metadata.spec)
    return (
        f"A torch.export program for the CPU. Input: uint8 {shape}, {metadata.channels}, any N. Output: "
        f"{task.export.description}, float32 (N, {len(task.exported)}). Normalization is included. Loading a .pt2 file "
        "can run code that is in it: load only files from sources that you trust."
    )


def script(_plain: PlainNetwork, task: Task) -> str:
    """The model card's prediction script."""
    return prediction_script("import torch\n", _OUTPUTS, task)


WRITER = FormatWriter(
    write=write,
    reload=reload,
    open=None,  # torch.export.load unpickles and evaluates parts of the file
    describe=describe,
    install=lambda _plain: "pip install torch pillow numpy",
    script=script,
)
