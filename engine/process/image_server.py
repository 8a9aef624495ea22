"""``python -m engine.process.image_server RUN``: shows the images of a run, and where the network looked in them.

Reads an Ask a line from standard input and writes a Look a line to standard output, until the input ends. An image
is found by its name in the run's own data, so that a stranger's run can't have another file shown.
"""

from __future__ import annotations

import base64
import io
import os
import sys
from functools import cached_property
from pathlib import Path

import msgspec
from PIL import Image

from engine.data.decode import decode, open_sample, read_file
from engine.data.image import to_rgb, upright, why_unreadable
from engine.data.sources import open_source
from engine.errors import InputError, first_line
from engine.files.csv_cells import path_cell
from engine.process.image_protocol import Ask, Look
from engine.runs.folder import RunFolder


class Looking:
    """Answers for one run; the network is loaded when it is first asked for."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._source = open_source(folder.load_config().data)
        self._places = {path_cell(image.key): at for at, image in enumerate(self._source.samples)}

    def __call__(self, ask: Ask) -> Look:
        at = self._places.get(ask.image)
        if at is None:
            return Look(ask.id, error="this image is not in the data any more")
        try:
            _, image = open_sample(self._source, at, read_file)
            shown = to_rgb(upright(image)) if ask.label is None else self._with_heat(image, ask.layer, ask.label)
        except InputError as error:
            return Look(ask.id, error=str(error))
        except Exception as error:  # Pillow's decoders raise anything
            return Look(ask.id, error=f"it can't be shown: {why_unreadable(error)}")
        shown.thumbnail((max(1, ask.width), max(1, ask.height)))
        png = io.BytesIO()
        shown.save(png, "PNG")
        return Look(ask.id, png=base64.b64encode(png.getvalue()).decode())

    @cached_property
    def _trained(self):  # noqa: ANN202 (torch is imported by then)
        from engine.evaluation.load_run import load_trained_run

        return load_trained_run(self._folder)

    def _with_heat(self, image: Image.Image, layer: str, label: str) -> Image.Image:
        import numpy as np
        import torch

        from engine.data.loaders import Normalize, centre_view
        from engine.evaluation.gradcam import grad_cam

        classes, classifier = self._trained.classes, self._trained.classifier
        if label not in classes:
            raise InputError("this class is none of the run's")
        seen = classifier.preprocessing
        pixels = centre_view(decode(image, seen.resize_size, seen.interpolation), seen.image_size)
        given = Normalize(seen, torch.device("cpu"))(pixels[None])
        heat = grad_cam(classifier.module, layer, given, classes.index(label)).numpy()[..., None]
        rgb = pixels.permute(1, 2, 0).numpy()
        glow = np.concatenate([np.full_like(heat, 255), 255 * heat, np.zeros_like(heat)], axis=2)
        return Image.fromarray((rgb * (1 - 0.6 * heat) + glow * 0.6 * heat).astype(np.uint8))


def main(path: Path) -> int:
    """Answer until standard input ends; returns the exit status."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print is no answer
    looking: Looking | None = None
    problem = ""
    try:
        looking = Looking(RunFolder(path))
    except (InputError, OSError) as error:
        problem = str(error) if isinstance(error, InputError) else first_line(error)
    for line in sys.stdin.buffer:
        ask = msgspec.json.decode(line, type=Ask)
        answer = looking(ask) if looking else Look(ask.id, error=problem)
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main(Path(sys.argv[1])))
