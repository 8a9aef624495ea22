"""A program of torch.export: runs with torch alone."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from engine.errors import InputError, first_line
from engine.evaluation.load_run import Trained
from engine.export import metadata as abouts
from engine.export.metadata import About
from engine.export.predictor import Answer, FromPixels

FILE = "model.pt2"


def program(trained: Trained) -> torch.export.ExportedProgram:
    """The network from images as bytes to logits, for batches of any size. Raises InputError where it can't be cut
    out of Python."""
    preprocessing = trained.classifier.preprocessing
    module = FromPixels(trained.classifier.module, preprocessing, torch.device("cpu")).eval()
    side = preprocessing.image_size
    example = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    sizes = {"images": {0: torch.export.Dim("batch")}}
    try:
        with torch.no_grad():
            return torch.export.export(module, (example,), dynamic_shapes=sizes)
    except Exception as error:  # whatever the compiler meets in a network
        raise InputError(
            f"{trained.classifier.name} can't be exported as a program ({first_line(error)}); use --format safetensors"
        ) from error


def write(path: Path, trained: Trained, about: About) -> None:
    """Write the program. Raises InputError and OSError."""
    content = io.BytesIO()  # torch's own writer of files ends the process where the disk is full
    torch.export.save(program(trained), content, extra_files={f"{abouts.KEY}.json": abouts.encode(about)})
    path.write_bytes(content.getbuffer())


def load_again(path: Path, _trained: Trained) -> Answer:
    """The program of a file that was just written. Never for a file of others: loading one can run code."""
    module = torch.export.load(path).module()

    def answer(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return module(images)

    return answer
