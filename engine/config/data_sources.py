"""The data sources that data.source takes: adding one is adding an entry here. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.config import data_paths

BY_PATH = "auto"
"""The data.source that takes the source which reads data.path."""


@dataclass(frozen=True, slots=True)
class DataSourceEntry:
    """``help`` names the kind of data. ``opener`` is a function of [data] that returns the dataset's ``Source``.

    ``identified_by``: the key of [data] without which there is no dataset, "" where the source is one dataset.
    ``settings``: the keys that the source reads. ``example`` completes "set data.KEY to …" in an error.
    ``lister``: of a source that reads a path, a function of [data] that returns its images, which need no labels.
    ``reads``: whether the source is the one for a path, by its name; None where no path tells.
    """

    help: str
    opener: str
    identified_by: Literal["path", "name", ""] = ""
    settings: tuple[str, ...] = ()
    example: str = ""
    reads: Callable[[Path], bool] | None = None
    lister: str = ""


_TABLE_SETTINGS = ("path_column", "label_column", "split_column", "group_column")

# The first that reads a path is the one that "auto" takes.
DATA_SOURCES = {
    BY_PATH: DataSourceEntry(
        "as data.path says",
        "engine.data.sources:auto_source",
        "path",
        ("path",),
        "a folder, an archive or a table of images",
    ),
    "folder": DataSourceEntry(
        "class folders",
        "engine.data.folder_source:folder_source",
        "path",
        ("path", "class_depth", "root", *_TABLE_SETTINGS),
        "the folder with the images",
        data_paths.is_plain_folder,
        "engine.data.folder_source:folder_images",
    ),
    "csv": DataSourceEntry(
        "a table",
        "engine.data.csv_source:csv_source",
        "path",
        ("path", "root", *_TABLE_SETTINGS),
        "the csv file",
        data_paths.is_table,
        "engine.data.csv_source:csv_images",
    ),
    "archive": DataSourceEntry(
        "a .zip or .tar",
        "engine.data.folder_source:archive_source",
        "path",
        ("path", "class_depth", "root", *_TABLE_SETTINGS),
        "the archive",
        data_paths.is_archive,
        "engine.data.folder_source:archive_images",
    ),
    "webdataset": DataSourceEntry(
        "WebDataset shards",
        "engine.data.webdataset_source:webdataset_source",
        "path",
        ("path", "label_column", "split_column", "group_column"),
        "the shards, such as shards-{000..010}.tar",
        data_paths.is_shards,
        "engine.data.webdataset_source:open_webdataset",
    ),
    "parquet": DataSourceEntry(
        "Parquet files",
        "engine.data.parquet_source:parquet_source",
        "path",
        ("path", "root", *_TABLE_SETTINGS),
        "a .parquet file, or a folder of them",
        data_paths.is_parquet,
        "engine.data.parquet_source:open_parquet",
    ),
    "huggingface": DataSourceEntry(
        "a saved Hugging Face dataset",
        "engine.data.huggingface_source:huggingface_source",
        "path",
        ("path", "root", *_TABLE_SETTINGS),
        "the folder that save_to_disk wrote",
        data_paths.is_saved_dataset,
        "engine.data.huggingface_source:open_huggingface",
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


def resolve_source(source: str, path: str, name: str = "") -> str:
    """The source that data.source, data.path and data.name mean: of "auto", the one that reads the path."""
    if source != BY_PATH:
        return source
    if name:
        return "torchvision"
    return source_of(Path(path).expanduser()) or "folder"


def source_of(path: Path) -> str:
    """The source that reads a path by its name; "" where there is none."""
    return next((name for name, entry in DATA_SOURCES.items() if entry.reads and entry.reads(path)), "")


def dataset_label(source: str, path: str, name: str) -> str:
    """A short name of a dataset: of its folder or file, or of its class; the source's where these are empty."""
    key = DATA_SOURCES[source].identified_by if source in DATA_SOURCES else ""
    return {"path": Path(path).stem, "name": name, "": ""}[key] or name or ("dataset" if source == BY_PATH else source)
