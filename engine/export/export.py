"""Exports a run's network to a file that other programs can load."""

from __future__ import annotations

import datetime
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from engine.data import image
from engine.errors import InputError, first_line
from engine.evaluation.load_run import TrainedRun, load_trained_run
from engine.export.format_writer import FormatWriter
from engine.export.formats import FORMATS, ExportFormat
from engine.export.metadata import CHANNELS, ExportMetadata
from engine.export.model_card import model_card
from engine.export.output_folder import atomic_folder, destination
from engine.export.predictor import outputs_function
from engine.export.sample_images import sample_images
from engine.export.verify import Comparison, verify
from engine.models import registry
from engine.runs.folder import RunFolder
from engine.runs.progress import Report
from engine.system.devices import installed_version, versions

CARD, METADATA, IMAGES = "README.md", "export.json", "images.py"


@dataclass(frozen=True)
class Exported:
    """An export: its ``folder``, the model ``file`` in it and the file's size in ``bytes``.

    ``checkpoint``: the name of the exported checkpoint. ``opset``: None for formats other than onnx.
    """

    folder: str
    file: str
    bytes: int
    checkpoint: str
    opset: int | None
    comparison: Comparison


def export(run: RunFolder, format_name: str, output: Path | None, report: Report) -> Exported:
    """Write a run's best network in one of ``FORMATS``, load it again, and compare it with the checkpoint.

    Raises InputError and then leaves nothing behind.
    """
    export_format = FORMATS[format_name]
    export_format.check_libraries()
    target = destination(run, format_name, output)
    report("checkpoint", 0, 0, "")
    trained = load_trained_run(run)
    samples = sample_images(trained, report)
    metadata = _metadata(trained, export_format)
    writer = export_format.writer
    with atomic_folder(target) as folder:
        report("export", 0, 0, "")
        _write(writer, folder / export_format.file, trained, metadata)
        reloaded = writer.reload(folder / export_format.file, trained)
        module, preprocessing = trained.classifier.module, trained.classifier.preprocessing
        checkpoint = outputs_function(module, trained.task, preprocessing, torch.device("cpu"))
        comparison = verify(trained.task, checkpoint, reloaded, samples, report)
        (folder / METADATA).write_bytes(msgspec.json.format(msgspec.json.encode(metadata), indent=1))
        shutil.copyfile(image.__file__, folder / IMAGES)
        (folder / CARD).write_text(model_card(trained, metadata, writer, comparison), encoding="utf-8")
        size = sum(path.stat().st_size for path in folder.glob("model.*"))
    return Exported(str(target), str(target / export_format.file), size, trained.checkpoint, writer.opset, comparison)


def _write(writer: FormatWriter, path: Path, trained: TrainedRun, metadata: ExportMetadata) -> None:
    try:
        writer.write(path, trained, metadata)
    except (InputError, OSError):
        raise
    except Exception as error:  # each library raises its own class on a full disk
        raise InputError(f"{path.name} can't be written ({first_line(error)}); make room, or choose -o") from error


def _metadata(trained: TrainedRun, export_format: ExportFormat) -> ExportMetadata:
    spec = trained.task.spec
    model, arguments = registry.portable_name(trained.config.model.name)
    return ExportMetadata(
        run=trained.folder.id,
        model=model,
        arguments=arguments,
        classes=trained.classes,
        hidden=trained.config.head.hidden,
        preprocessing=trained.classifier.preprocessing,
        channels=CHANNELS[trained.classifier.preprocessing.channels],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        task=spec.task,
        mean=spec.mean,
        std=spec.std,
        thresholds=spec.thresholds,
        versions=versions() | {name: installed_version(name) for name in export_format.libraries},
    )
