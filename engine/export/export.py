"""A run's network as files that others can load."""

from __future__ import annotations

import datetime
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from engine.data import image
from engine.errors import InputError, first_line
from engine.evaluation.load_run import Trained, load_trained
from engine.export import onnx_file
from engine.export.formats import FORMATS, Format
from engine.export.metadata import About
from engine.export.model_card import card
from engine.export.output_folder import destination, whole_folder
from engine.export.predictor import answer_with
from engine.export.sample_images import sample_images
from engine.export.verify import Comparison, compare
from engine.runs.folder import RunFolder
from engine.runs.progress import Report
from engine.system.devices import installed_version, versions

CARD, ABOUT, IMAGES = "README.md", "export.json", "images.py"


@dataclass(frozen=True)
class Exported:
    """What was written: ``folder`` and the model's ``file`` in it, of ``bytes``; ``checkpoint``: what was exported."""

    folder: str
    file: str
    bytes: int
    checkpoint: str
    opset: int | None
    comparison: Comparison


def export(run: RunFolder, format_name: str, output: Path | None, report: Report) -> Exported:
    """Write a run's best network in one of ``FORMATS``, load it again, and compare it with the checkpoint.

    Raises InputError; then nothing is left behind.
    """
    if format_name == "onnx":
        onnx_file.check_extra("onnx", "onnxscript", "onnxruntime")
    target = destination(run, format_name, output)
    report("checkpoint", 0, 0, "")
    trained = load_trained(run)
    samples = sample_images(trained, report)
    about = _about(trained, format_name)
    form = FORMATS[format_name]
    with whole_folder(target) as folder:
        report("export", 0, 0, "")
        _write(form, folder / form.FILE, trained, about)
        again = form.load_again(folder / form.FILE, trained)
        checkpoint = answer_with(trained.classifier.module, trained.classifier.preprocessing, torch.device("cpu"))
        compared = compare(checkpoint, again, samples, report)
        (folder / ABOUT).write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=1))
        shutil.copyfile(image.__file__, folder / IMAGES)
        (folder / CARD).write_text(card(trained, about, format_name, compared), encoding="utf-8")
        size = sum(path.stat().st_size for path in folder.glob("model.*"))
    opset = onnx_file.OPSET if format_name == "onnx" else None
    return Exported(str(target), str(target / form.FILE), size, trained.checkpoint, opset, compared)


def _write(form: Format, path: Path, trained: Trained, about: About) -> None:
    try:
        form.write(path, trained, about)
    except (InputError, OSError):
        raise
    except Exception as error:  # each library has errors of its own for a full disk
        raise InputError(f"{path.name} can't be written ({first_line(error)}); make room, or choose -o") from error


def _about(trained: Trained, format_name: str) -> About:
    libraries = {"safetensors": ["safetensors"], "onnx": ["onnx", "onnxscript", "onnxruntime"], "pt2": []}[format_name]
    return About(
        run=trained.folder.id,
        model=trained.config.model.name,
        classes=trained.classes,
        hidden=trained.config.head.hidden,
        preprocessing=trained.classifier.preprocessing,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=versions() | {name: installed_version(name) for name in libraries},
    )
