"""Reads weights files without executing anything in them."""

from __future__ import annotations

import json
import pickle
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from engine.errors import InputError, first_line
from engine.files.safe_open import open_regular

StateDict = dict[str, torch.Tensor]

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_DEEPEST = 3  # dictionaries inside each other that are searched for a state dict; a pickle may contain itself
_NOT_WEIGHTS = ("optim", "scheduler", "scaler")  # beginnings of the keys of a trainer's own state


def read_state_dicts(path: Path) -> dict[str, StateDict]:
    """The state dicts in a .safetensors or a torch file, by their place in it: "", "state_dict", "model.ema" ….

    Raises InputError, also for a file that could run code.
    """
    try:
        with open_regular(path) as file:
            beginning = file.read(4)
        if path.suffix == ".safetensors":
            return {"": safetensors.torch.load_file(path)}
        _check_kind(path, beginning)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such weights file; check model.weights") from None
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: refused, since it holds more than tensors and loading it could run code; if you trust it, "
            f"convert it with: {_conversion(path)}"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: can't be read as weights ({error.strerror or first_line(error)})") from None
    except InputError:
        raise
    except Exception as error:  # a damaged pickle ends in any of Python's own
        raise InputError(f"{path}: not a weights file, or damaged ({first_line(error)})") from None
    found = dict(_state_dicts(content, "", _DEEPEST))
    if not found:
        raise InputError(f"{path}: holds no state dict; save model.state_dict(), best as .safetensors")
    return found


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The metadata of a .safetensors file; empty for other files and unreadable ones."""
    if path.suffix != ".safetensors":
        return {}
    try:
        with safetensors.safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, safetensors.SafetensorError):
        return {}


def _state_dicts(content: object, name: str, deepest: int) -> Iterator[tuple[str, StateDict]]:
    if not isinstance(content, dict):
        return
    tensors = {str(key): tensor for key, tensor in content.items() if isinstance(tensor, torch.Tensor)}
    if tensors:
        yield name, tensors
    for key, inner in content.items():
        if deepest and isinstance(key, str) and not key.startswith(_NOT_WEIGHTS):
            yield from _state_dicts(inner, f"{name}.{key}".removeprefix("."), deepest - 1)


def _conversion(path: Path) -> str:
    """A command that writes the state dict of a file beside it. It runs the code in the file."""
    converted = path.with_name(f"{path.stem}-weights.pth")
    program = (
        f'import torch; d = torch.load({json.dumps(str(path))}, map_location="cpu", weights_only=False); '
        f'torch.save(d.get("state_dict", d.get("model", d)), {json.dumps(str(converted))})'
    )
    return f"python -c {shlex.quote(program)}"


def _check_kind(path: Path, beginning: bytes) -> None:
    if not beginning.startswith((_ZIP, _PICKLE)):
        raise InputError(f"{path}: not a weights file; save model.state_dict(), best as .safetensors")
    if beginning.startswith(_ZIP):
        _check_archive(path)


def _check_archive(path: Path) -> None:
    """Raises InputError for an archive that torch.save did not write: it never compresses, so nothing may unpack."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any("/code/" in entry.filename for entry in entries):
        raise InputError(
            f"{path}: refused, since it is a TorchScript program; save only the state dict, best as .safetensors"
        )
    size = sum(entry.file_size for entry in entries)
    if size > path.stat().st_size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise InputError(
            f"{path}: refused, since it would unpack to {size / 2**20:,.0f} MiB, which torch.save never writes; "
            "save the state dict again, best as .safetensors"
        )
