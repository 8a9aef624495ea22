"""The formats: each is a module."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from engine.errors import InputError
from engine.evaluation.load_run import Trained
from engine.export import onnx_file, pt2_file, safetensors_file
from engine.export.metadata import About
from engine.export.predictor import Answer, Opened
from engine.files.safe_open import open_regular


class Format(Protocol):
    """Writes a network to a file, and loads the file as others will. Both raise InputError."""

    @property
    def FILE(self) -> str: ...

    def write(self, path: Path, trained: Trained, about: About, /) -> None: ...

    def load_again(self, path: Path, trained: Trained, /) -> Answer: ...


FORMATS: dict[str, Format] = {"safetensors": safetensors_file, "onnx": onnx_file, "pt2": pt2_file}
_OPENERS: dict[str, Callable[[Path], Opened]] = {
    Path(safetensors_file.FILE).suffix: safetensors_file.open_export,
    Path(onnx_file.FILE).suffix: onnx_file.open_export,
}


def export_file(path: Path) -> Path | None:
    """The file of an export that ``path`` means, itself or the folder that holds it; None if it means none."""
    names = [form.FILE for form in FORMATS.values()]
    # os.path.isfile says no, and raises nothing, also where a name is too long for a file.
    if path.suffix in {Path(name).suffix for name in names} and os.path.isfile(path):
        return path
    return next((path / name for name in names if os.path.isfile(path / name)), None)


def open_export(path: Path) -> Opened:
    """A file of ours, or so it says, as a network that answers. Nothing in it is executed. Raises InputError."""
    try:
        open_regular(path).close()
    except OSError as error:
        raise InputError(f"{path}: can't be read as an export ({error.strerror})") from None
    if path.suffix not in _OPENERS:  # torch.export.load unpickles and evaluates what it finds
        raise InputError(
            f"{path}: refused, since loading a .pt2 file can run code that is in it; predict with the run, or with an "
            "export in onnx or safetensors"
        )
    return _OPENERS[path.suffix](path)
