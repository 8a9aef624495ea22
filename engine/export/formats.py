"""Export formats: one entry each. Imports no torch, so that the command line and the manual can list them.

To add a format, add an entry here and the module that it names, which defines ``WRITER``, a ``FormatWriter``.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError, first_line
from engine.files.safe_open import open_regular

if TYPE_CHECKING:
    from engine.export.format_writer import FormatWriter
    from engine.export.predictor import Predictor


@dataclass(frozen=True)
class ExportFormat:
    """A file format of exported networks.

    ``file``: the model file's name. ``module``: defines its ``WRITER``. ``content`` and ``requires``: what the file
    holds and what running it takes, for tables. ``libraries``: distributions that writing it imports; ``extra``: the
    extra of tltui that installs them, "" if every installation has them.
    """

    name: str
    file: str
    module: str
    content: str
    requires: str
    libraries: tuple[str, ...] = ()
    extra: str = ""

    @property
    def writer(self) -> FormatWriter:
        """The code of the format. Imports torch."""
        return importlib.import_module(self.module).WRITER

    def check_libraries(self) -> None:
        """Raise InputError where a library that writing takes is not installed."""
        check_installed(self.name, self.extra, *self.libraries)


_ALL = (
    ExportFormat(
        "safetensors",
        "model.safetensors",
        "engine.export.safetensors_file",
        content="weights of the plain torchvision or timm network",
        requires="torch, torchvision or timm, safetensors",
        libraries=("safetensors",),
    ),
    ExportFormat(
        "onnx",
        "model.onnx",
        "engine.export.onnx_file",
        content="ONNX graph, opset 18, any batch size, normalization included",
        requires="onnxruntime",
        libraries=("onnx", "onnxscript", "onnxruntime"),
        extra="onnx",
    ),
    ExportFormat(
        "pt2",
        "model.pt2",
        "engine.export.pt2_file",
        content="torch.export program, any batch size, normalization included",
        requires="torch",
    ),
)
FORMATS: dict[str, ExportFormat] = {one.name: one for one in _ALL}


def check_installed(format_name: str, extra: str, *modules: str) -> None:
    """Raise InputError where one of the modules cannot be imported."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            package = f"tltui[{extra}]" if extra else module
            raise InputError(
                f'{format_name} needs libraries that are not installed ({first_line(error)}); pip install "{package}"'
            ) from None


def find_export(path: Path) -> Path | None:
    """Find the model file that ``path``, a file or its folder, stands for; None if there is none."""
    names = [one.file for one in FORMATS.values()]
    # os.path.isfile returns False where a name is too long for a file; Path.is_file raises.
    if path.suffix in {Path(name).suffix for name in names} and os.path.isfile(path):
        return path
    return next((path / name for name in names if os.path.isfile(path / name)), None)


def open_export(path: Path) -> Predictor:
    """Open a model file of any origin for prediction. Runs no code from it. Raises InputError."""
    try:
        open_regular(path).close()
    except OSError as error:
        raise InputError(f"{path}: can't be read as an export ({error.strerror})") from None
    by_suffix = {Path(one.file).suffix: one.writer for one in FORMATS.values()}
    opener = by_suffix[path.suffix].open if path.suffix in by_suffix else None
    if opener is None:
        usable = " or ".join(name for name, one in FORMATS.items() if one.writer.open)
        raise InputError(
            f"{path}: refused, since loading a {path.suffix} file can run code that is in it; predict with the run, "
            f"or export it as {usable}"
        )
    return opener(path)
