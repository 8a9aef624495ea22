"""Loading weights into a network, with a report of what fitted."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from engine.errors import InputError, first_line
from engine.files.safe_open import open_regular
from engine.models import registry
from engine.runs.events import WeightsReport
from engine.runs.progress import Report

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_DEEPEST = 3  # tables within tables in which a state dict is looked for; a pickle may hold itself


def load_weights(classifier: registry.Classifier, weights: str, report: Report) -> WeightsReport:
    """Load "default", "none" or a file into ``classifier``.

    The default weights' own classifier is left out: its classes are others. A file's is taken where its shape
    fits, so that a classifier trained earlier can be trained on. Raises InputError where nothing can be loaded.
    """
    if weights == "none":
        return WeightsReport(source="none")
    if weights != "default":
        state = read_state_dict(Path(weights))
        result = _fit(classifier, state, source=weights)
        if f"{classifier.head[0]}.weight" in [*result.mismatched, *result.unexpected]:
            classifier.original_head = _head_of(state, classifier.head[0])
        return result
    pretrained = registry.architecture(classifier.name).pretrained
    if pretrained is None:
        raise InputError(f'{classifier.name} has no pretrained weights; set model.weights to a file or to "none"')
    state = pretrained.load(classifier.preprocessing.image_size, report)
    classifier.original_head = _head_of(state, classifier.head[0])
    state = {key: tensor for key, tensor in state.items() if not _in_head(key, classifier.head)}
    return _fit(classifier, state, source=str(pretrained.path()))


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors or a torch file. Nothing in the file is executed. Raises InputError."""
    try:
        with open_regular(path) as file:
            beginning = file.read(4)
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        _check_kind(path, beginning)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such weights file; check model.weights") from None
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: refused, since it holds more than tensors and loading it could run code; "
            "save only the state dict, best as .safetensors"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: can't be read as weights ({error.strerror or first_line(error)})") from None
    except InputError:
        raise
    except Exception as error:  # a damaged pickle ends in any of Python's own
        raise InputError(f"{path}: not a weights file, or damaged ({first_line(error)})") from None
    state = _tensors_in(content)
    if not state:
        raise InputError(f"{path}: holds no state dict; save model.state_dict(), best as .safetensors")
    return state


def _tensors_in(content: object) -> dict[str, torch.Tensor]:
    for _ in range(_DEEPEST):
        if not isinstance(content, dict):
            return {}
        inner = next((content[key] for key in ("state_dict", "model_state_dict", "model") if key in content), None)
        if not isinstance(inner, dict):
            break
        content = inner
    tensors = content.items() if isinstance(content, dict) else []
    return {_plain(key): tensor for key, tensor in tensors if isinstance(tensor, torch.Tensor)}


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
            "save the state dict anew, best as .safetensors"
        )


def _plain(key: object) -> str:
    """A parameter's name without what DataParallel and torch.compile put before it."""
    return str(key).removeprefix("module.").removeprefix("_orig_mod.")


def _fit(classifier: registry.Classifier, state: dict[str, torch.Tensor], source: str) -> WeightsReport:
    own = classifier.module.state_dict()
    fitting = {key: tensor for key, tensor in state.items() if key in own and _fits(tensor, own[key])}
    result = WeightsReport(
        source=source,
        loaded=len(fitting),
        missing=[key for key in own if key not in state and not _in_head(key, classifier.head)],
        unexpected=[key for key in state if key not in own],
        mismatched=[key for key, tensor in state.items() if key in own and not _fits(tensor, own[key])],
    )
    if not fitting:
        raise InputError(
            f'{source}: none of its {len(state)} tensors fits {classifier.name} (it has "{next(iter(state))}", '
            f'the model "{next(iter(own))}"); choose the model that these weights belong to'
        )
    classifier.module.load_state_dict(fitting, strict=False)
    result.not_finite = [key for key, tensor in fitting.items() if not tensor.isfinite().all()]
    return result


def _fits(tensor: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether a tensor can take the place of ``own``: of one shape, and both floats or both not."""
    return (
        tensor.shape == own.shape
        and tensor.is_floating_point() == own.is_floating_point()
        and not (tensor.is_complex() or tensor.is_quantized or tensor.is_meta)
        and tensor.layout is torch.strided
    )


def _head_of(state: dict[str, torch.Tensor], path: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(f"{path}."): tensor for key, tensor in state.items() if key.startswith(f"{path}.")}


def _in_head(key: str, head: list[str]) -> bool:
    return any(key.startswith(path + ".") for path in head)
