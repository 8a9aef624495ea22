"""The onnx format: runs with onnxruntime alone."""

from __future__ import annotations

import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from engine.errors import InputError, first_line
from engine.evaluation.load_run import TrainedRun
from engine.export.format_writer import FormatWriter, prediction_script
from engine.export.formats import check_installed
from engine.export.metadata import METADATA_KEY, ExportMetadata, decode, encode
from engine.export.plain_network import PlainNetwork
from engine.export.predictor import ComputeLogits, Predictor
from engine.export.pt2_file import export_program
from engine.system.cpu import usable_cores

OPSET = 18
INPUT, OUTPUT = "images", "logits"

_LOGITS = f"""\
session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(["{OUTPUT}"], {{"{INPUT}": images}})
"""


def write(path: Path, trained: TrainedRun, metadata: ExportMetadata) -> None:
    """Write the network. Weights above 2 GB go to a file beside it. Raises InputError and OSError."""
    program = export_program(trained)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # its advice addresses callers of torch.onnx, not users
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            onnx_program: Any = torch.onnx.export(
                program, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False
            )
    except Exception as error:  # the exporter's libraries share no error class
        raise InputError(
            f"{trained.classifier.name} can't be exported to ONNX with PyTorch {torch.__version__} and onnxscript "
            f"{version('onnxscript')} ({first_line(_root_cause(error))}); use --format safetensors, or a newer PyTorch"
        ) from error
    finally:
        logger.setLevel(level)
    onnx_program.model.metadata_props[METADATA_KEY] = encode(metadata)
    onnx_program.save(path)


def _root_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def reload(path: Path, _trained: TrainedRun) -> ComputeLogits:
    """Load the file with onnxruntime."""
    return _logits_function(_session(path))


def open_file(path: Path) -> Predictor:
    """Load the file with onnxruntime, without custom operators. Raises InputError where it does not fit."""
    session = _session(path)
    metadata = decode(session.get_modelmeta().custom_metadata_map.get(METADATA_KEY), path)
    compute_logits = _logits_function(session)
    try:
        shape = compute_logits(torch.zeros(2, *metadata.preprocessing.input_shape, dtype=torch.uint8)).shape
    except Exception as error:  # onnxruntime's errors share no class
        raise InputError(f"{path}: does not run ({first_line(error)}); export the run again") from None
    if shape != (2, len(metadata.classes)):
        raise InputError(
            f"{path}: returns {tuple(shape)} for 2 images and {len(metadata.classes)} classes; export the run again"
        )
    return Predictor(metadata.classes, metadata.preprocessing, compute_logits)


def _session(path: Path) -> Any:  # noqa: ANN401 (onnxruntime has no types)
    check_installed("onnx", "onnx", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no class
        raise InputError(f"{path}: not an ONNX file, or damaged ({first_line(error)})") from None


def _logits_function(session: Any) -> ComputeLogits:  # noqa: ANN401
    (session_input,) = session.get_inputs()  # version 0.1.0 used another name for it

    def compute_logits(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run([OUTPUT], {session_input.name: images.numpy()})[0])

    return compute_logits


def describe(metadata: ExportMetadata) -> str:
    """The model card's sentences on the content."""
    shape, classes = metadata.input_shape, len(metadata.classes)
    return (
        f"Opset {OPSET}. Input `{INPUT}`: uint8 {shape}, {metadata.channels}, any N. Output `{OUTPUT}`: float32 "
        f"(N, {classes}). Normalization is included."
    )


def script(_plain: PlainNetwork) -> str:
    """The model card's prediction script."""
    return prediction_script("import onnxruntime\n", _LOGITS)


WRITER = FormatWriter(
    write=write,
    reload=reload,
    open=open_file,
    describe=describe,
    install=lambda _plain: "pip install onnxruntime pillow",
    script=script,
    opset=OPSET,
)
