"""Lists the networks that ``model.name`` takes."""

from __future__ import annotations

import fnmatch

import msgspec

from engine.config.model_names import is_hub_name
from engine.models import pip_source, registry, timm_source, torchvision_source


class ModelEntry(msgspec.Struct):
    """A network in the list.

    ``parameters``: scalars with the original head; ``accuracy``: ImageNet top-1, 0 … 1; None where unknown.
    ``weights``: "here", "download" or "none".
    """

    name: str
    parameters: int | None
    accuracy: float | None
    image_size: int
    weights: str


def models_like(pattern: str) -> list[ModelEntry]:
    """Networks whose name contains ``pattern`` or matches it as a shell pattern; timm's for "timm/…".

    One that begins with "hf-hub:" or "local-dir:" is a name, not a pattern. Raises InputError where it can't be read.
    """
    if is_hub_name(pattern):
        return [_entry(pattern)]
    if pattern.startswith(registry.TIMM_PREFIX):
        names = [registry.TIMM_PREFIX + name for name in timm_source.names()]
    else:
        names = [pip_source.NAME, *torchvision_source.names()]
    return [_entry(name) for name in names if pattern in name or fnmatch.fnmatch(name, pattern)]


def weights_folders() -> dict[str, str]:
    """The folders of downloaded weights, by label."""
    from huggingface_hub import constants

    return {"torchvision's folder": str(torchvision_source.folder()), "timm's folder": constants.HF_HUB_CACHE}


def _entry(name: str) -> ModelEntry:
    found = registry.architecture(name)
    pretrained = found.pretrained
    return ModelEntry(
        name=name,
        parameters=pretrained.parameters if pretrained else None,
        accuracy=pretrained.accuracy if pretrained else None,
        image_size=found.preprocessing.image_size,
        weights="none" if pretrained is None else "here" if pretrained.path().exists() else "download",
    )
