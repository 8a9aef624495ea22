"""timm networks whose config.json and weights lie in a repository of the Hugging Face Hub or in a folder.

``hf-hub:OWNER/NAME`` or ``hf-hub:OWNER/NAME@REVISION`` is read from the Hub's cache or downloaded;
``local-dir:FOLDER`` is a folder as ``timm.models.save_for_hf`` writes it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.config.model_names import FOLDER, HUB
from engine.errors import InputError, first_line
from engine.models import timm_source
from engine.models.architecture import Architecture, Pretrained
from engine.runs.progress import Report, watched_download

_CHOSEN = ("num_classes", "in_chans", "img_size")  # arguments that follow from a run's settings
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class HubConfig:
    """The content of a config.json: timm's name of the network, its ``arguments`` and the ``settings`` of its weights.

    The number of classes, the image size and the channels are a run's own.
    """

    base: str
    arguments: dict[str, Any]
    settings: dict[str, Any]


def architecture(name: str) -> Architecture:
    """The network called ``name``. Raises InputError where its config.json is missing or not timm's."""
    import timm.models

    config = read_config(name)
    pretrained = Pretrained(path=functools.partial(_path, name), load=functools.partial(_load, name, config))
    defaults = timm.models.get_pretrained_cfg(config.base)
    stated = {key: value for key, value in config.settings.items() if value is not None}
    settings = (defaults.to_dict() if defaults else {}) | stated
    try:
        found = timm_source.from_settings(config.base, settings, pretrained, config.arguments)
        return replace(found, build=functools.partial(_build, name, found.build))
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f'model.name = "{name}": its {_CONFIG} can\'t be used ({error!r})') from None


def read_config(name: str) -> HubConfig:
    """Read the config.json of ``name``, and download it where it is not in the Hub's cache. Raises InputError."""
    import timm.models
    from timm.models._hub import load_model_config_from_path

    is_folder = name.startswith(FOLDER)
    load, place = (load_model_config_from_path, FOLDER) if is_folder else (timm.models.load_model_config_from_hf, HUB)
    try:
        settings, base, arguments = load(name.removeprefix(place))
    except (OSError, AssertionError, ValueError) as error:  # no network, no such repository, or not JSON
        raise _missing(name, _CONFIG, error) from error
    except (KeyError, TypeError, AttributeError):
        settings, base, arguments = {}, "", {}
    if not (isinstance(base, str) and timm_source.is_known(base)):
        raise InputError(
            f'model.name = "{name}": its {_CONFIG} names no network of this timm; choose a repository that timm wrote'
        )
    kept = {key: value for key, value in timm_source.network_arguments(arguments or {}).items() if key not in _CHOSEN}
    return HubConfig(base, kept, settings)


def _build(name: str, build: Callable[..., nn.Module], *arguments: int) -> nn.Module:
    try:
        return build(*arguments)
    except TypeError as error:  # arguments that the network does not take
        raise InputError(f'model.name = "{name}": its {_CONFIG} can\'t be used ({first_line(error)})') from None


def _load(name: str, config: HubConfig, image_size: int, report: Report) -> dict[str, torch.Tensor]:
    path = _path(name)
    options = {**config.arguments, "pretrained_cfg": config.settings}
    try:
        with watched_download(path.parent, 0, report):
            return timm_source.build(config.base, image_size, options=options, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        raise _missing(name, _WEIGHTS, error) from error


def _path(name: str) -> Path:
    """The folder, or the file in the Hub's cache; where it would be if it is not there."""
    from huggingface_hub import file_download

    if name.startswith(FOLDER):
        return Path(name.removeprefix(FOLDER))
    repository, _, revision = name.removeprefix(HUB).partition("@")
    cached = file_download.try_to_load_from_cache(repository, _WEIGHTS, revision=revision or None)
    return Path(cached) if isinstance(cached, str) else _cache_folder(name) / _WEIGHTS


def _cache_folder(name: str) -> Path:
    from huggingface_hub import constants, file_download

    repository = name.removeprefix(HUB).partition("@")[0]
    return Path(constants.HF_HUB_CACHE) / file_download.repo_folder_name(repo_id=repository, repo_type="model")


def _missing(name: str, file: str, error: Exception) -> InputError:
    """The error for a file that can't be read, with what to copy where."""
    reason = first_line(error)
    if name.startswith(FOLDER):
        return InputError(
            f'model.name = "{name}": {file} can\'t be read there ({reason}); give a folder with {_CONFIG} and '
            f"{_WEIGHTS} as timm's save_for_hf writes them"
        )
    repository = name.removeprefix(HUB).partition("@")[0]
    return InputError(
        f'model.name = "{name}": {file} is not on this machine and can\'t be downloaded ({reason}); run '
        f"`hf download {repository}` on a machine with internet and copy its cache folder to {_cache_folder(name)}, or "
        f'copy {_CONFIG} and {_WEIGHTS} into a folder and set model.name = "{FOLDER}FOLDER"'
    )
