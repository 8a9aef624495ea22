"""Class folders as a data source."""

from __future__ import annotations

from pathlib import Path

from engine.config.schema import DataConfig
from engine.data.folder_layout import image_files, split_roots, subfolders
from engine.data.source import Sample, Source, from_files
from engine.errors import InputError
from engine.files.escapes import name_of


def folder_source(config: DataConfig) -> Source:
    """One subfolder per class, or train/ val/ test/ with those inside."""
    root = Path(config.path)
    if not root.exists():
        raise InputError(f"{root}: there is no such folder; set data.path to the folder that holds the classes")
    roots = split_roots(root)
    classes = sorted({name for folder in roots.values() for name in subfolders(folder)})
    if not classes:
        raise InputError(f"{root}: holds no class folders; put the images of each class into a subfolder")
    found = [
        (path, label, split)
        for split, folder in roots.items()
        for label, name in enumerate(classes)
        for path in image_files(folder / name)
    ]
    samples = [Sample(name_of(path.relative_to(root)), label, split) for path, label, split in found]
    return from_files([name_of(name) for name in classes], samples, lambda index: found[index][0])
