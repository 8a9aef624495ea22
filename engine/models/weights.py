"""Loading weights into a network, with a report of what fitted."""

from __future__ import annotations

import pickle
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from engine.errors import InputError, first_line
from engine.models import zoo
from engine.progress import Report
from engine.protocol import WeightsReport


def load_weights(classifier: zoo.Classifier, weights: str, report: Report) -> WeightsReport:
    """Load "default", "none" or a file into ``classifier``.

    The default weights' own classifier is left out: its classes are others. A file's is taken where its shape
    fits, so that a classifier trained earlier can be trained on. Raises InputError where nothing can be loaded.
    """
    if weights == "none":
        return WeightsReport(source="none")
    if weights != "default":
        return _fit(classifier, read_state_dict(Path(weights)), source=weights)
    pretrained = zoo.architecture(classifier.name).pretrained
    if pretrained is None:
        raise InputError(f'{classifier.name} has no pretrained weights; set model.weights to a file or to "none"')
    state = pretrained.load(classifier.preprocessing.image_size, report)
    state = {key: tensor for key, tensor in state.items() if not _in_head(key, classifier.head)}
    return _fit(classifier, state, source=str(pretrained.path()))


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors or a torch file. Nothing in the file is executed. Raises InputError."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such weights file; check model.weights") from None
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: refused, since it holds more than tensors and loading it could run code; "
            "save only the state dict, best as .safetensors"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: not a weights file ({first_line(error)})") from None
    while isinstance(content, dict):
        inner = next((content[key] for key in ("state_dict", "model_state_dict", "model") if key in content), None)
        if not isinstance(inner, dict):
            break
        content = inner
    tensors = content.items() if isinstance(content, dict) else []
    state = {_plain(key): tensor for key, tensor in tensors if isinstance(tensor, torch.Tensor)}
    if not state:
        raise InputError(f"{path}: holds no state dict; save model.state_dict(), best as .safetensors")
    return state


def _plain(key: object) -> str:
    """A parameter's name without what DataParallel and torch.compile put before it."""
    return str(key).removeprefix("module.").removeprefix("_orig_mod.")


def _fit(classifier: zoo.Classifier, state: dict[str, torch.Tensor], source: str) -> WeightsReport:
    own = classifier.module.state_dict()
    fitting = {key: tensor for key, tensor in state.items() if key in own and own[key].shape == tensor.shape}
    result = WeightsReport(
        source=source,
        loaded=len(fitting),
        missing=[key for key in own if key not in state and not _in_head(key, classifier.head)],
        unexpected=[key for key in state if key not in own],
        mismatched=[key for key, tensor in state.items() if key in own and own[key].shape != tensor.shape],
    )
    if not fitting:
        raise InputError(
            f'{source}: none of its {len(state)} tensors fits {classifier.name} (it has "{next(iter(state))}", '
            f'the model "{next(iter(own))}"); choose the model that these weights belong to'
        )
    classifier.module.load_state_dict(fitting, strict=False)
    return result


def _in_head(key: str, head: list[str]) -> bool:
    return any(key.startswith(path + ".") for path in head)
