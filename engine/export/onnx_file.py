"""ONNX: runs with onnxruntime alone. Its libraries are an extra."""

from __future__ import annotations

import importlib
import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from engine.errors import InputError, first_line
from engine.evaluation.load_run import Trained
from engine.export import metadata as abouts
from engine.export import pt2_file
from engine.export.metadata import About
from engine.export.predictor import Answer, Opened
from engine.system.cpu import usable_cores

FILE = "model.onnx"
OPSET = 18
INPUT, OUTPUT = "images", "logits"


def check_extra(*modules: str) -> None:
    """Raises InputError where the libraries are not installed."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise InputError(
                f'ONNX needs libraries that are not here ({first_line(error)}); install them: pip install "tltui[onnx]"'
            ) from None


def write(path: Path, trained: Trained, about: About) -> None:
    """Write the network; weights of more than 2 GB go to a file beside it. Raises InputError and OSError."""
    traced = pt2_file.program(trained)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells its users of steps that are ours to take
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: Any = torch.onnx.export(
                traced, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False
            )
    except Exception as error:  # the exporter's libraries have no class of errors in common
        raise InputError(
            f"{trained.classifier.name} can't be exported to ONNX with PyTorch {torch.__version__} and onnxscript "
            f"{version('onnxscript')} ({first_line(_first_cause(error))}); use --format safetensors, or a newer PyTorch"
        ) from error
    finally:
        logger.setLevel(level)
    made.model.metadata_props[abouts.KEY] = abouts.encode(about)
    made.save(path)


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def load_again(path: Path, _trained: Trained) -> Answer:
    """The file as onnxruntime runs it."""
    return _answer(_session(path))


def open_export(path: Path) -> Opened:
    """The file as onnxruntime runs it, with its own operations alone. Raises InputError where it does not fit."""
    session = _session(path)
    about = abouts.decode(session.get_modelmeta().custom_metadata_map.get(abouts.KEY), path)
    side = about.preprocessing.image_size
    answer = _answer(session)
    try:
        shape = answer(torch.zeros(2, 3, side, side, dtype=torch.uint8)).shape
    except Exception as error:  # onnxruntime's errors have no class in common
        raise InputError(f"{path}: does not run ({first_line(error)}); export it anew") from None
    if shape != (2, len(about.classes)):
        raise InputError(f"{path}: gives {tuple(shape)} for 2 images and {len(about.classes)} classes; export it anew")
    return Opened(about.classes, about.preprocessing, answer)


def _session(path: Path) -> Any:  # noqa: ANN401 (onnxruntime has no types)
    check_extra("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise InputError(f"{path}: not an ONNX file, or damaged ({first_line(error)})") from None


def _answer(session: Any) -> Answer:  # noqa: ANN401
    (given,) = session.get_inputs()  # its name was another one in version 0.1.0

    def answer(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run([OUTPUT], {given.name: images.numpy()})[0])

    return answer
