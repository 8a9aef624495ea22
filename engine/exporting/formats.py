"""The formats, each a module with the same functions."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from engine.errors import InputError
from engine.exporting import onnx_file, pt2_file, safetensors_file
from engine.exporting.network import Opened
from engine.regular_files import open_regular

FORMATS: dict[str, Any] = {"safetensors": safetensors_file, "onnx": onnx_file, "pt2": pt2_file}
_SUFFIXES: dict[str, ModuleType] = {Path(module.FILE).suffix: module for module in FORMATS.values()}


def export_file(path: Path) -> Path | None:
    """The file of an export that ``path`` means, itself or the folder that holds it; None if it means none."""
    if path.suffix in _SUFFIXES and path.is_file():
        return path
    return next((path / module.FILE for module in FORMATS.values() if (path / module.FILE).is_file()), None)


def open_export(path: Path) -> Opened:
    """An export as a network that answers. Nothing in the file is executed. Raises InputError."""
    try:
        open_regular(path).close()
    except OSError as error:
        raise InputError(f"{path}: can't be read as an export ({error.strerror})") from None
    module: Any = _SUFFIXES[path.suffix]
    about = module.read_about(path)
    return Opened(about.classes, about.preprocessing, module.open_export(path, about))
