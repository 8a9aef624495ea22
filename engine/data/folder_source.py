"""Class folders as a data source, on disk or in an archive."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from engine.config.data_paths import archive_of, has_table_name
from engine.config.schema import DataConfig
from engine.data.archives import open_archive
from engine.data.csv_source import csv_images, csv_source, find_table
from engine.data.file_tree import DISK, FileTree
from engine.data.finding import DatasetFinding, counted
from engine.data.folder_layout import FolderLayout, find_layout
from engine.data.image_files import image_files
from engine.data.records import records_source
from engine.data.source import Sample, Source, from_stored_files
from engine.data.webdataset_source import CLASS, LABEL_MEMBERS, archived_samples
from engine.errors import InputError
from engine.files.escapes import name_of
from engine.files.stored_file import ImageFile


def folder_source(config: DataConfig) -> Source:
    """One subfolder per class, or train/ val/ test/ with those inside. Raises InputError."""
    root = Path(config.path)
    if not root.exists():
        raise InputError(f"{root}: there is no such folder; set data.path to the folder that holds the classes")
    if not root.is_dir():
        raise InputError(
            f"{root}: is no folder, archive or table, nor Parquet; set data.path to a folder, a .zip, a .tar, a .csv "
            "or a .parquet"
        )
    return tree_source(config, root, DISK)


def archive_source(config: DataConfig) -> Source:
    """The same inside a zip or tar archive, which is read in place. Raises InputError."""
    path = Path(config.path)
    archive = archive_of(path)
    if not archive:
        raise InputError(f"{path}: there is no such archive; set data.path to a .zip or .tar")
    tree = open_archive(archive)
    found = _archived(config, path, tree)
    return replace(found, findings=[*tree.findings, *found.findings])


def _archived(config: DataConfig, path: Path, tree: FileTree) -> Source:
    """A table, else samples with a class beside each, else class folders, else samples with other labels."""
    if not tree.is_folder(path):
        return csv_source(config, tree)
    if records := archived_samples(tree, path, config, (CLASS,)):
        return records_source(records, config)
    try:
        return tree_source(config, path, tree)
    except InputError:
        if records := archived_samples(tree, path, config, LABEL_MEMBERS):
            return records_source(records, config)
        raise


def folder_images(config: DataConfig, tree: FileTree = DISK) -> Iterator[ImageFile]:
    """The images at any depth of a folder."""
    return (ImageFile(path, tree.file(path)) for path in image_files(Path(config.path), None, tree))


def archive_images(config: DataConfig) -> Iterator[ImageFile]:
    """The images in an archive, in a folder or a table there, or the single image. Raises InputError."""
    path = Path(config.path)
    tree = open_archive(archive_of(path) or path)
    if tree.is_folder(path):
        return folder_images(config, tree)
    return csv_images(config, tree) if has_table_name(path) else iter([ImageFile(path, tree.file(path))])


def tree_source(config: DataConfig, root: Path, tree: FileTree) -> Source:
    """The class folders below ``root``, or the images of the only table there. Raises InputError."""
    try:
        layout = find_layout(root, config.class_depth, tree)
    except InputError:
        if not (table := find_table(root, config, tree)):
            raise
    else:
        if len(layout.classes) > 1:
            return _table_across(layout, config) or class_folders(layout)
        if not (table := find_table(root, config, tree)):
            return class_folders(layout)
    message = f"{root} holds no class folders; the labels are read from {table.relative_to(root)}"
    return _table_source(table, config, tree, message)


def _table_source(table: Path, config: DataConfig, tree: FileTree, message: str) -> Source:
    """The images of a table that was found; ``message`` says why the table is read."""
    found = csv_source(config.model_copy(update={"path": str(table)}), tree)
    return replace(found, findings=[DatasetFinding("table_found", message), *found.findings])


def _table_across(layout: FolderLayout, config: DataConfig) -> Source | None:
    """The table that gives different labels to the images of each folder, which then is no class; else None."""
    if config.class_depth:
        return None
    try:
        if not (table := find_table(layout.root, config, layout.tree)):
            return None
        message = (
            f"the labels are read from {table.relative_to(layout.root)}, which names images of different labels in "
            "each folder; data.class_depth = 1 takes the folders as classes"
        )
        source = _table_source(table, config, layout.tree, message)
    except InputError:
        return None
    base = Path(config.root) if config.root else table.parent
    labels: dict[str, set[str]] = {os.path.normpath(folder.path): set() for folder in layout.folders}
    for sample in source.samples:
        for parent in Path(os.path.normpath(base / sample.key)).parents:
            if (found := labels.get(str(parent))) is not None:
                found.add(sample.describe(source.classes))
    return source if all(len(found) > 1 for found in labels.values()) else None


def class_folders(layout: FolderLayout) -> Source:
    """The images of a layout as a source."""
    tree, classes = layout.tree, layout.classes
    number = {name: label for label, name in enumerate(classes)}
    passed_over: Counter[str] = Counter()
    found = [
        (path, number[folder.label], folder.split)
        for folder in layout.folders
        for path in image_files(folder.path, passed_over, tree)
    ]
    samples = [Sample(name_of(path.relative_to(layout.root)), label, split) for path, label, split in found]
    findings = [*layout.findings, *_of_passed_over(passed_over)]
    source = from_stored_files(
        [name_of(name) for name in classes], samples, lambda index: tree.file(found[index][0]), findings
    )
    return replace(source, passed_over=passed_over)


def _of_passed_over(suffixes: Counter[str]) -> list[DatasetFinding]:
    if not suffixes:
        return []
    parts = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in suffixes.most_common(8)]
    others = f" and {len(suffixes) - len(parts)} other suffixes" if len(suffixes) > len(parts) else ""
    files = counted(suffixes.total(), "file is no image", "files are no images")
    message = f"{files} by name and content: {', '.join(parts)}{others}; convert those that should be images"
    return [DatasetFinding("files_passed_over", message)]
