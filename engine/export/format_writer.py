"""The functions that every export format provides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.compute.task import Task
from engine.evaluation.load_run import TrainedRun
from engine.export.metadata import ExportMetadata
from engine.export.plain_network import PlainNetwork
from engine.export.predictor import ComputeOutputs, Predictor


@dataclass(frozen=True)
class FormatWriter:
    """Writes, loads and documents a network in one file format.

    - ``write(path, trained, metadata)`` writes the model file. It raises InputError and OSError.
    - ``reload(path, trained)`` loads a file that ``write`` has just written, the way other programs load it.
    - ``open(path)`` loads a file of any origin. None if loading such a file can run code in it.
    - ``describe(metadata)`` returns the model card's sentences on the file's content.
    - ``install(plain)`` returns the card's install command, ``script(plain, task)`` its prediction script.

    ``opset``: the ONNX opset, None for other formats.
    """

    write: Callable[[Path, TrainedRun, ExportMetadata], None]
    reload: Callable[[Path, TrainedRun], ComputeOutputs]
    open: Callable[[Path], Predictor] | None
    describe: Callable[[ExportMetadata], str]
    install: Callable[[PlainNetwork], str]
    script: Callable[[PlainNetwork, Task], str]
    opset: int | None = None


_BEFORE = """\
import json
import sys

import numpy as np
{imports}
from images import centre_crop, open_image, prepare  # images.py, beside this file

with open("export.json", encoding="utf-8") as file:
    about = json.load(file)
how = about["preprocessing"]
steps = ("resize_size", "interpolation", "channels", "value_range")


def pixels(path):
    with open(path, "rb") as file:
        image = prepare(open_image(file.read()), *(how[name] for name in steps))
    return centre_crop(image, how["image_size"]).transpose(2, 0, 1)


images = np.stack([pixels(path) for path in sys.argv[1:]])
"""


def prediction_script(imports: str, compute: str, task: Task) -> str:
    """A Python script that prints the path and the prediction of each image named on its command line.

    ``compute``: code that turns ``images``, uint8 (N, C, S, S), into ``outputs``, float32 (N, outputs).
    """
    return _BEFORE.format(imports=imports) + compute + task.export.show
