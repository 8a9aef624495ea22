"""torchvision's datasets as a data source, by class name."""

from __future__ import annotations

import difflib
import inspect
import os
from pathlib import Path
from typing import Any

import platformdirs
from PIL import Image

from engine.config.schema import DataConfig
from engine.data.source import Sample, Source, unique_names
from engine.errors import InputError, first_line
from engine.files.escapes import printable

_TRAIN_TEST: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}


def _splits(**names: str) -> dict[str, dict[str, Any]]:
    return {split: {"split": torchvision_name} for split, torchvision_name in names.items()}


# Split → the arguments that select it in torchvision; {"": {}}: the dataset has no split of its own.
DATASETS: dict[str, dict[str, dict[str, Any]]] = {
    "CIFAR10": _TRAIN_TEST,
    "CIFAR100": _TRAIN_TEST,
    "Caltech101": {"": {}},
    "Caltech256": {"": {}},
    "Country211": _splits(train="train", val="valid", test="test"),
    "DTD": _splits(train="train", val="val", test="test"),
    "EMNIST": {"train": {"split": "balanced", "train": True}, "test": {"split": "balanced", "train": False}},
    "EuroSAT": {"": {}},
    "FGVCAircraft": _splits(train="train", val="val", test="test"),
    "FakeData": {"": {}},
    "FashionMNIST": _TRAIN_TEST,
    "Flowers102": _splits(train="train", val="val", test="test"),
    "Food101": _splits(train="train", test="test"),
    "GTSRB": _splits(train="train", test="test"),
    "ImageNet": _splits(train="train", val="val"),
    "Imagenette": _splits(train="train", val="val"),
    "KMNIST": _TRAIN_TEST,
    "MNIST": _TRAIN_TEST,
    "OxfordIIITPet": _splits(train="trainval", test="test"),
    "PCAM": _splits(train="train", val="val", test="test"),
    "QMNIST": _TRAIN_TEST,
    "RenderedSST2": _splits(train="train", val="val", test="test"),
    "SEMEION": {"": {}},
    "STL10": _splits(train="train", test="test"),
    "SUN397": {"": {}},
    "SVHN": _splits(train="train", test="test"),
    "StanfordCars": _splits(train="train", test="test"),
    "USPS": _TRAIN_TEST,
}
OFFLINE = "TLTUI_OFFLINE"


def data_root(path: str) -> Path:
    """The folder of torchvision's datasets: ``path``, or the platform's cache folder."""
    return Path(path) if path else Path(platformdirs.user_cache_dir("tltui")) / "datasets"


def torchvision_source(config: DataConfig) -> Source:
    """All splits of ``DATASETS[config.name]`` from the data root; downloads them unless $TLTUI_OFFLINE is set."""
    if config.name not in DATASETS:
        near = difflib.get_close_matches(config.name, DATASETS, n=3, cutoff=0.3)
        raise InputError(
            f'data.name = "{config.name}" is not known; nearest: {", ".join(near) or "none"} (see `tltui datasets`)'
        )
    root = data_root(config.path)
    datasets = {split: _open(config.name, root, options) for split, options in DATASETS[config.name].items()}
    samples = [
        Sample(f"{split or 'all'}-{index:06}", label, split)
        for split, dataset in datasets.items()
        for index, label in enumerate(_labels(config.name, dataset))
    ]
    locations = [(dataset, index) for dataset in datasets.values() for index in range(len(dataset))]

    def open_image(index: int) -> Image.Image:
        dataset, at = locations[index]
        return dataset[at][0]

    return Source(unique_names(_classes(next(iter(datasets.values())), samples)), samples, open_image)


def is_here(name: str, path: str) -> bool:
    """Whether all splits of a dataset open without a download."""
    try:
        for options in DATASETS[name].values():
            _construct(name, data_root(path), options, download=False)
    except Exception:  # each dataset raises its own error for missing files
        return False
    return True


def _open(name: str, root: Path, options: dict[str, Any]) -> Any:  # noqa: ANN401 (datasets share no type)
    try:
        return _construct(name, root, options, download=False)
    except (RuntimeError, OSError, ValueError) as missing:
        if os.environ.get(OFFLINE):
            raise InputError(f"{name} is not in {root} ({missing}) and ${OFFLINE} is set") from None
    try:
        root.mkdir(parents=True, exist_ok=True)
        return _construct(name, root, options, download=True)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{name} is not in {root} and can't be downloaded ({first_line(error)}); put torchvision's files of {name} "
            "there, or set data.path to the folder that holds them"
        ) from error


def _construct(name: str, root: Path, options: dict[str, Any], *, download: bool) -> Any:  # noqa: ANN401
    from torchvision import datasets

    kind = getattr(datasets, name)
    parameters = _parameters(kind)
    arguments: dict[str, Any] = dict(options)
    if "root" in parameters:
        arguments["root"] = str(root)
    if "download" in parameters:
        arguments["download"] = download
    elif download:
        raise RuntimeError("torchvision can't download it")
    return kind(**arguments)


def _parameters(kind: type) -> set[str]:
    """The constructor's parameter names, including those that it passes on to its base class."""
    names: set[str] = set()
    for base in kind.__mro__[:-1]:
        takes = inspect.signature(base.__init__).parameters
        names.update(takes)
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in takes.values()):
            break
    return names


def _labels(name: str, dataset: Any) -> list[int]:  # noqa: ANN401
    """All labels, without decoding an image where possible. Datasets keep them under different names.

    Raises InputError where a label is not one integer.
    """
    attributes = ("targets", "labels", "_labels", "y")
    values: Any = next((found for key in attributes if (found := getattr(dataset, key, None)) is not None), None)
    samples = getattr(dataset, "_samples", None)
    if values is None and isinstance(samples, list):
        values = [sample[1] for sample in samples]
    if values is None:
        values = [dataset[index][1] for index in range(len(dataset))]
    elif getattr(values, "ndim", 1) == 2 and values.shape[0] and _label(name, dataset[0][1]) == values[0][0]:
        values = values[:, 0]  # QMNIST stores writer and source besides the class
    return [_label(name, value) for value in values]


def _label(name: str, value: Any) -> int:  # noqa: ANN401
    try:
        if (number := int(value)) == value:
            return number
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of several numbers
        pass
    raise InputError(
        f"torchvision's {name} has labels that are not one class number each, as {printable(str(value))[:40]}; choose "
        "another data.name, or use its files as class folders"
    )


def _classes(dataset: Any, samples: list[Sample]) -> list[str]:  # noqa: ANN401
    for attribute in ("classes", "categories"):
        names = getattr(dataset, attribute, None)
        if names:
            return [str(name[0]) if isinstance(name, tuple) else str(name) for name in names]
    return [str(label) for label in range(max(sample.label for sample in samples) + 1)]
