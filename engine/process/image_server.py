"""``python -m engine.process.image_server RUN``: serves the images of a run, with or without Grad-CAM heat maps.

Reads an ImageRequest a line from standard input and writes an ImageReply a line to standard output, until the input
ends. It opens only images of the run's dataset, so that a run from elsewhere can't expose other files.
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
from engine.data.image import Pixels, to_rgb, upright, why_unreadable
from engine.data.sources import open_source
from engine.errors import InputError, first_line
from engine.files.csv_cells import path_cell
from engine.models.preprocessing import ValueRange
from engine.process.image_protocol import ImageReply, ImageRequest
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder
from engine.runs.state import fold_all


class ImageServer:
    """Answers requests for one run. It loads the network at the first heat map."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._source = open_source(folder.load_config().data)
        self._indices = {path_cell(image.key): at for at, image in enumerate(self._source.samples)}

    def reply(self, request: ImageRequest) -> ImageReply:
        at = self._indices.get(request.image)
        if at is None:
            return ImageReply(request.id, error="this image is not in the dataset any more")
        try:
            _, image = open_sample(self._source, at, read_file)
            shown = (
                to_rgb(upright(image), self._value_range).convert("RGB")
                if request.label is None
                else self._heat_map(image, request.layer, request.label)
            )
        except InputError as error:
            return ImageReply(request.id, error=str(error))
        except Exception as error:  # Pillow's decoders raise anything
            return ImageReply(request.id, error=f"it can't be shown: {why_unreadable(error)}")
        shown.thumbnail((max(1, request.width), max(1, request.height)))
        png = io.BytesIO()
        shown.save(png, "PNG")
        return ImageReply(request.id, png=base64.b64encode(png.getvalue()).decode())

    @cached_property
    def _value_range(self) -> ValueRange | None:
        data = fold_all(EventTail(self._folder, steps=False).poll()).data
        return data.value_range if data else None

    @cached_property
    def _trained(self):  # noqa: ANN202 (torch is imported by then)
        from engine.evaluation.load_run import load_trained_run

        return load_trained_run(self._folder)

    def _heat_map(self, image: Image.Image, layer: str, label: str) -> Image.Image:
        import numpy as np
        import torch

        from engine.data.loaders import Normalize, centre_view
        from engine.evaluation.gradcam import grad_cam

        classes, classifier = self._trained.classes, self._trained.classifier
        if label not in classes:
            raise InputError("the run has no such class")
        preprocessing = classifier.preprocessing
        pixels = centre_view(decode(image, preprocessing), preprocessing.image_size)
        inputs = Normalize(preprocessing, torch.device("cpu"))(pixels[None])
        heat = grad_cam(classifier.module, layer, inputs, classes.index(label), self._trained.task).numpy()[..., None]
        rgb = _as_rgb(pixels.permute(1, 2, 0).numpy())
        overlay = np.concatenate([np.full_like(heat, 255), 255 * heat, np.zeros_like(heat)], axis=2)
        return Image.fromarray((rgb * (1 - 0.6 * heat) + overlay * 0.6 * heat).astype(np.uint8))


def _as_rgb(pixels: Pixels) -> Pixels:
    """The colours of an image of any number of channels."""
    return pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)


def main(path: Path) -> int:
    """Answer requests until standard input ends. Returns the exit status."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keeps output of libraries out of the replies
    server: ImageServer | None = None
    problem = ""
    try:
        server = ImageServer(RunFolder(path))
    except (InputError, OSError) as error:
        problem = str(error) if isinstance(error, InputError) else first_line(error)
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=ImageRequest)
        reply = server.reply(request) if server else ImageReply(request.id, error=problem)
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()
    return 0


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main(Path(sys.argv[1])))
