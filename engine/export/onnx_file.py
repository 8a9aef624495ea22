"""The onnx format: runs with onnxruntime alone."""

from __future__ import annotations

import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from engine.compute.task import Task, open_task
from engine.errors import InputError, first_line
from engine.evaluation.load_run import TrainedRun
from engine.export.format_writer import FormatWriter, prediction_script
from engine.export.formats import check_installed
from engine.export.metadata import METADATA_KEY, ExportMetadata, decode, encode
from engine.export.plain_network import PlainNetwork
from engine.export.predictor import ComputeOutputs, Predictor
from engine.export.pt2_file import export_program
from engine.system.cpu import usable_cores

OPSET = 18
INPUT = "images"

_OUTPUTS = """\
session = onnxruntime.InferenceSession("model.onnx")
(outputs,) = session.run(["{output}"], {{"{input}": images}})
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
                program,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[trained.task.export.name],
                dynamo=True,
                verbose=False,
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


def reload(path: Path, _trained: TrainedRun) -> ComputeOutputs:
    """Load the file with onnxruntime."""
    return _outputs_function(_session(path))


def open_file(path: Path) -> Predictor:
    """Load the file with onnxruntime, without custom operators. Raises InputError where it does not fit."""
    session = _session(path)
    metadata = decode(session.get_modelmeta().custom_metadata_map.get(METADATA_KEY), path)
    task = open_task(metadata.spec)
    compute_outputs = _outputs_function(session)
    try:
        shape = compute_outputs(torch.zeros(2, *metadata.preprocessing.input_shape, dtype=torch.uint8)).shape
    except Exception as error:  # onnxruntime's errors share no class
        raise InputError(f"{path}: does not run ({first_line(error)}); export the run again") from None
    if shape != (2, len(task.exported)):
        raise InputError(
            f"{path}: returns {tuple(shape)} for 2 images and {len(task.exported)} outputs; export the run again"
        )
    return Predictor(task, metadata.preprocessing, compute_outputs)


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


def _outputs_function(session: Any) -> ComputeOutputs:  # noqa: ANN401
    (session_input,) = session.get_inputs()  # version 0.1.0 used another name for it
    (session_output,) = session.get_outputs()

    def compute_outputs(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run([session_output.name], {session_input.name: images.numpy()})[0])

    return compute_outputs


def describe(metadata: ExportMetadata) -> str:
    """The model card's sentences on the content."""
    shape, task = metadata.input_shape, open_task(metadata.spec)
    return (
        f"Opset {OPSET}. Input `{INPUT}`: uint8 {shape}, {metadata.channels}, any N. Output `{task.export.name}`: "
        f"{task.export.description}, float32 (N, {len(task.exported)}). Normalization is included."
    )


def script(_plain: PlainNetwork, task: Task) -> str:
    """The model card's prediction script."""
    compute = _OUTPUTS.format(output=task.export.name, input=INPUT)
    return prediction_script("import onnxruntime\n", compute, task)


WRITER = FormatWriter(
    write=write,
    reload=reload,
    open=open_file,
    describe=describe,
    install=lambda _plain: "pip install onnxruntime pillow",
    script=script,
    opset=OPSET,
)
