"""The data sources that data.source takes: adding one is adding an entry here. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class DataSourceEntry:
    """``help`` names the kind of data. ``opener`` is a function of [data] that returns the dataset's ``Source``.

    ``identified_by``: the key of [data] without which there is no dataset, "" where the source is one dataset.
    ``settings``: the keys that the source reads. ``example`` completes "set data.KEY to …" in an error.
    """

    help: str
    opener: str
    identified_by: Literal["path", "name", ""] = ""
    settings: tuple[str, ...] = ()
    example: str = ""


DATA_SOURCES = {
    "folder": DataSourceEntry(
        "class folders",
        "engine.data.folder_source:folder_source",
        "path",
        ("path", "class_depth"),
        "the folder with the images",
    ),
    "csv": DataSourceEntry(
        "a table",
        "engine.data.csv_source:csv_source",
        "path",
        ("path", "root", "path_column", "label_column", "split_column", "group_column"),
        "the csv file",
    ),
    "torchvision": DataSourceEntry(
        "a torchvision dataset",
        "engine.data.torchvision_source:torchvision_source",
        "name",
        ("path", "name"),
        'a torchvision dataset class, e.g. "Flowers102"',
    ),
    "digits": DataSourceEntry("scikit-learn's digits", "engine.data.digits_source:digits_source"),
}


def dataset_label(source: str, path: str, name: str) -> str:
    """A short name of a dataset: of its folder or file, or of its class; the source's where these are empty."""
    key = DATA_SOURCES[source].identified_by if source in DATA_SOURCES else ""
    return {"path": Path(path).stem, "name": name, "": ""}[key] or source
