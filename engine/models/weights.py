"""Loads pretrained weights into a network and reports what was loaded, adapted and left random."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from engine.config.freeze_rules import RuleMatcher
from engine.errors import InputError
from engine.files.text_lists import listed
from engine.models import registry
from engine.models.layer_tree import module_types
from engine.models.state_dict_choice import choose_state_dict, nothing_fits
from engine.models.weight_files import StateDict, read_state_dicts
from engine.models.weight_shapes import adapt_input_channels, resample_positions
from engine.models.weight_source import WeightsFile, find_weights
from engine.runs.events import WeightsReport
from engine.runs.progress import Report

# Buffers that older versions of the libraries did or did not save; they are not learned.
_NOT_LEARNED = ("num_batches_tracked", "relative_position_index", "attn_mask", "position_ids")
_NAMED = 5  # layers that an error lists


def load_weights(classifier: registry.Classifier, weights: str, report: Report) -> WeightsReport:
    """Load the weights that ``model.weights`` names into ``classifier``: "default", "none", a file or an earlier run.

    The default weights' own classifier is left out: its classes are others. Of an earlier run's or an export's head,
    the rows of the classifier's ``classes`` are loaded by class name. Another file's head is loaded where its shape
    fits. Raises InputError where nothing can be loaded.
    """
    if weights == "none":
        return WeightsReport(source="none")
    if weights == "default":
        return _load_default(classifier, report)
    file = find_weights(weights)
    own = classifier.module.state_dict()
    choice = choose_state_dict(read_state_dicts(file.path), own, file.state_dict, str(file.path), classifier.name)
    result = _load(classifier, choice.state, str(file.path), file)
    result.state_dict, result.prefix = choice.label, choice.prefix
    return result


def check_frozen_layers(classifier: registry.Classifier, report: WeightsReport, rules: Sequence[str]) -> None:
    """Raises InputError where a frozen layer stays random, or belongs to another network than the weights.

    ``report``: what ``load_weights`` returned; ``rules``: the freeze plan with which training begins.
    """
    if report.source == "none":
        return
    module = classifier.module
    modules, parameters = dict(module.named_modules()), dict(module.named_parameters())
    decisions = RuleMatcher(module_types(module), parameters, classifier.head).decide(rules)
    random = _layers(
        name for name in report.missing if not decisions[name if name in parameters else _layer(name)].trainable
    )
    if random:
        raise InputError(
            f"{report.source}: frozen layers would stay random: {listed(random, _NAMED)}; "
            'choose the model that these weights belong to, train the layers ("train PATH" in freeze.rules), or set '
            'model.weights = "none"'
        )
    deeper = _layers(name for name in report.unexpected if _continues_a_stack(modules, name))
    if deeper and any(not decisions[name].trainable for name in parameters if not _in_head(name, classifier.head)):
        raise InputError(
            f"{report.source}: belongs to a deeper network than {classifier.name}, with the layers "
            f"{listed(deeper, _NAMED)}; choose the model that these weights belong to"
        )


def _load_default(classifier: registry.Classifier, report: Report) -> WeightsReport:
    pretrained = registry.architecture(classifier.name).pretrained
    if pretrained is None:
        raise InputError(f'{classifier.name} has no pretrained weights; set model.weights to a file or to "none"')
    state = pretrained.load(classifier.preprocessing.image_size, report)
    classifier.original_head = _head_of(state, classifier.head[0])
    backbone = {key: tensor for key, tensor in state.items() if not _in_head(key, classifier.head)}
    return _load(classifier, backbone, str(pretrained.path()), None)


def _load(classifier: registry.Classifier, state: StateDict, source: str, file: WeightsFile | None) -> WeightsReport:
    module, head = classifier.module, classifier.head
    own = module.state_dict()
    resampled, adapted = resample_positions(module, state), adapt_input_channels(module, state)
    state = state | resampled | adapted
    rows, matched = _head_rows(classifier, state, file.classes if file else [])
    backbone = {key: tensor for key, tensor in state.items() if not _in_head(key, head)}
    fitting = {key: tensor for key, tensor in backbone.items() if key in own and _fits(tensor, own[key])}
    if not fitting:
        raise nothing_fits(source, state, classifier.name, own)
    if file and f"{head[0]}.weight" not in rows:
        classifier.original_head = _head_of(state, head[0])
    loaded = fitting | rows
    module.load_state_dict(loaded, strict=False)
    learned = [key for key in own if not _in_head(key, head) and not key.endswith(_NOT_LEARNED)]
    return WeightsReport(
        source=source,
        loaded=len(loaded),
        missing=[key for key in learned if key not in fitting],
        unexpected=[key for key in backbone if key not in own and not key.endswith(_NOT_LEARNED)],
        mismatched=[key for key, tensor in backbone.items() if key in own and not _fits(tensor, own[key])],
        not_finite=[key for key, tensor in loaded.items() if not tensor.isfinite().all()],
        resampled=sorted(resampled),
        adapted=sorted(adapted),
        converted=sorted({str(t.dtype).removeprefix("torch.") for k, t in loaded.items() if t.dtype != own[k].dtype}),
        head_classes=matched,
    )


def _head_rows(classifier: registry.Classifier, state: StateDict, theirs: Sequence[str]) -> tuple[StateDict, int]:
    """The tensors of the head that can be loaded, and for how many classes.

    ``theirs``: the classes of the weights' head. Rows of other classes stay random.
    """
    own = {key: tensor for key, tensor in classifier.module.state_dict().items() if _in_head(key, classifier.head)}
    last = {f"{_last_layer(classifier.module, path)}.{name}" for path in classifier.head for name in ("weight", "bias")}
    classes = classifier.classes
    shared = [name for name in classes if name in theirs]
    found: StateDict = {}
    for key, initial in own.items():
        tensor = state.get(key)
        if tensor is None:
            return {}, 0
        if key in last and theirs and classes:
            if not shared or tensor.shape != (len(theirs), *initial.shape[1:]):
                return {}, 0
            rows = [theirs.index(name) for name in shared]
            tensor = initial.clone().index_copy_(
                0, torch.tensor([classes.index(name) for name in shared]), tensor[rows].to(initial)
            )
        if not _fits(tensor, initial):
            return {}, 0
        found[key] = tensor
    return found, len(shared) if theirs else len(own[f"{_last_layer(classifier.module, classifier.head[0])}.weight"])


def _last_layer(module: nn.Module, head: str) -> str:
    """The path of the layer whose outputs are the classes; a head with hidden layers has several."""
    layers = [path for path, layer in module.get_submodule(head).named_modules() if hasattr(layer, "weight")]
    return f"{head}.{layers[-1]}".removesuffix(".")


def _fits(tensor: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether a tensor can replace ``own``: of one shape, and both floats or both not."""
    return (
        tensor.shape == own.shape
        and tensor.is_floating_point() == own.is_floating_point()
        and not (tensor.is_complex() or tensor.is_quantized or tensor.is_meta)
        and tensor.layout is torch.strided
    )


def _head_of(state: StateDict, path: str) -> StateDict:
    return {key.removeprefix(f"{path}."): tensor for key, tensor in state.items() if key.startswith(f"{path}.")}


def _in_head(key: str, head: Sequence[str]) -> bool:
    return any(key.startswith(path + ".") for path in head)


def _continues_a_stack(modules: dict[str, nn.Module], name: str) -> bool:
    """Whether a tensor belongs to a further block of a sequence: "layer3.2.conv1.weight" where layer3 has two."""
    match = re.match(r"(.+?)\.(\d+)\.", name)
    while match:
        if match[1] not in modules:
            return False
        block = f"{match[1]}.{match[2]}"
        if block not in modules:
            return f"{match[1]}.{int(match[2]) - 1}" in modules or f"{match[1]}.0" in modules
        match = re.match(rf"({re.escape(block)}\..+?)\.(\d+)\.", name)
    return False


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _layers(names: Iterable[str]) -> list[str]:
    """The layers of tensors by name, each once."""
    return list(dict.fromkeys(_layer(name) or name for name in names))
