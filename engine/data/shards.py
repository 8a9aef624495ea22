"""Finds the files of a dataset that consists of many, such as shards, and the split that each belongs to.

Imports neither torch nor Pillow: the app uses it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from engine.config.data_paths import matching_files
from engine.data.finding import DatasetFinding, counted
from engine.data.split_names import split_named
from engine.errors import InputError
from engine.files.escapes import name_of

# "train-00000-of-00002-a09b74b3ef9c3b56" and "imagenet-train-000123" → "train" and "imagenet-train"
_NUMBERS = re.compile(r"[-_.]?\d+(?:-of-\d+(?:-[0-9a-f]{16})?)?")


class Shard(NamedTuple):
    """A file with samples: its path, its printable name within the dataset, and its split, "" where it has none."""

    path: Path
    name: str
    split: str


class Shards(NamedTuple):
    """The files of a dataset in order, and warnings about those that are left out."""

    files: list[Shard]
    findings: list[DatasetFinding]


def find_shards(path: Path, suffix: str) -> Shards:
    """The files with ``suffix`` at ``path``: a file, a folder that holds some at any depth, or a pattern of names.

    Splits are those in the names of files or else of their folders; one split alone is none. Raises InputError.
    """
    root, files = path.parent, [path]
    if path.is_dir():
        root, files = path, sorted(_below(path, suffix))
    elif not path.is_file():
        files = list(matching_files(path))
        if missing := next((file for file in files if not file.is_file()), None):
            raise InputError(f"{path}: {missing.name} is not there; change the range, or add the file")
    if not files:
        raise InputError(
            f"{path}: there is no such {suffix} file; set data.path to one, or to a folder that holds some"
        )
    places = [(file, file.relative_to(root)) for file in files]
    return with_splits([Shard(file, name_of(place), _split_of(place)) for file, place in places])


def with_splits(files: list[Shard]) -> Shards:
    """The files that have a split, where there are several splits; else all files, without splits."""
    if len({shard.split for shard in files} - {""}) < 2:
        return Shards([shard._replace(split="") for shard in files], [])
    unused = [shard.name for shard in files if not shard.split]
    findings = []
    if unused:
        message = f"not used: {counted(len(unused), 'file', 'files')} whose name is no split, e.g. {unused[0]}"
        findings.append(DatasetFinding("unused_folders", message))
    return Shards([shard for shard in files if shard.split], findings)


def _below(folder: Path, suffix: str) -> list[Path]:
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if name.lower().endswith(suffix) and not name.startswith(".")]
    return found


def _split_of(path: Path) -> str:
    """The split that a file's name means, such as train-00000-of-00002.parquet, or else the nearest folder's."""
    stem = path.name.partition(".")[0]
    prefix = next((stem[: at.start()] for at in _NUMBERS.finditer(stem) if at.end() == len(stem)), stem)
    names = (prefix, *(parent.name for parent in path.parents))
    return next((split for name in names if (split := split_named(name))), "")
