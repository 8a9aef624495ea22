"""Values of columns as text, and the class names that numbers stand for. Imports neither torch nor Pillow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.data.file_tree import DISK, FileTree

_LISTS = ("classes.txt", "classnames.txt")  # a name per line
DATASET_INFO = "dataset_info.json"
_LARGEST = 2**24  # bytes

ClassNames = Mapping[str, Sequence[str]]
"""The class names that the numbers in a column stand for, by column; those of "" are for all columns."""


def cell_text(value: object, names: Sequence[str] = ()) -> str:
    """A value as a table of text holds it; "" where there is none. A list is joined by semicolons.

    ``names``: what numbers stand for; -1 stands for no label, as in Hugging Face's datasets.
    """
    match value:
        case None:
            return ""
        case bool():
            return str(int(value))
        case int():
            if names and value < 0:
                return ""
            return names[value] if value < len(names) else str(value)
        case list():
            return ";".join(filter(None, (cell_text(one, names) for one in value)))
    return str(value).strip()


def is_list(value: object) -> bool:
    """Whether a value is a list of text, numbers and truth values."""
    return isinstance(value, list) and all(isinstance(one, str | int | float) for one in value)


def features_of(content: bytes | str) -> Mapping[str, Any]:
    """The columns that Hugging Face's datasets describe in ``content``, JSON; {} where there are none."""
    try:
        info = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    info = info.get("info", info) if isinstance(info, dict) else {}
    features = info.get("features") if isinstance(info, dict) else None
    return features if isinstance(features, dict) else {}


def class_labels(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """The class names of each column of class labels, or of lists of them."""
    found = {name: _names_in(feature) for name, feature in features.items()}
    return {name: names for name, names in found.items() if names}


def class_names_beside(folder: Path, tree: FileTree = DISK) -> ClassNames:
    """The class names in classes.txt, classnames.txt or dataset_info.json in ``folder``; {} where there are none."""
    for name in _LISTS:
        if lines := _read(folder / name, tree).decode("utf-8-sig", "replace").splitlines():
            return {"": [line.strip() for line in lines]}
    return class_labels(features_of(_read(folder / DATASET_INFO, tree)))


def _names_in(feature: object) -> list[str]:
    if isinstance(feature, list) and feature:  # as older versions describe a list
        return _names_in(feature[0])
    if not isinstance(feature, dict):
        return []
    if feature.get("_type") == "ClassLabel":
        names = feature.get("names")
        return [str(name) for name in names] if isinstance(names, list) else []
    return _names_in(feature.get("feature"))


def _read(path: Path, tree: FileTree) -> bytes:
    try:
        return tree.file(path).read(_LARGEST).content
    except OSError:
        return b""
