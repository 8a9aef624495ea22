"""Class folders as a data source, on disk or in an archive."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from engine.config.data_paths import archive_of
from engine.config.schema import DataConfig
from engine.data.archives import open_archive
from engine.data.csv_source import csv_source, find_table
from engine.data.file_tree import DISK, FileTree
from engine.data.finding import Finding, counted
from engine.data.folder_layout import FolderLayout, find_layout
from engine.data.image_files import image_files
from engine.data.source import Sample, Source, from_stored_files
from engine.errors import InputError
from engine.files.escapes import name_of


def folder_source(config: DataConfig) -> Source:
    """One subfolder per class, or train/ val/ test/ with those inside. Raises InputError."""
    root = Path(config.path)
    if not root.exists():
        raise InputError(f"{root}: there is no such folder; set data.path to the folder that holds the classes")
    if not root.is_dir():
        raise InputError(f"{root}: is no folder, archive or table; set data.path to a folder, a .zip, a .tar or a .csv")
    return tree_source(config, root, DISK)


def archive_source(config: DataConfig) -> Source:
    """The same inside a zip or tar archive, which is read in place. Raises InputError."""
    path = Path(config.path)
    archive = archive_of(path)
    if not archive:
        raise InputError(f"{path}: there is no such archive; set data.path to a .zip or .tar")
    tree = open_archive(archive)
    found = tree_source(config, path, tree) if tree.is_folder(path) else csv_source(config, tree)
    return replace(found, findings=[*tree.findings, *found.findings])


def tree_source(config: DataConfig, root: Path, tree: FileTree) -> Source:
    """The class folders below ``root``, or the images of the only table there. Raises InputError."""
    try:
        layout = find_layout(root, config.class_depth, tree)
        if len(layout.classes) > 1:
            return class_folders(layout)
    except InputError:
        if not (table := find_table(root, config, tree)):
            raise
    else:
        if not (table := find_table(root, config, tree)):
            return class_folders(layout)
    found = csv_source(config.model_copy(update={"path": str(table)}), tree)
    message = f"{root} holds no class folders; the labels are read from {table.relative_to(root)}"
    return replace(found, findings=[Finding("table_found", message), *found.findings])


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


def _of_passed_over(suffixes: Counter[str]) -> list[Finding]:
    if not suffixes:
        return []
    parts = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in suffixes.most_common(8)]
    others = f" and {len(suffixes) - len(parts)} other suffixes" if len(suffixes) > len(parts) else ""
    files = counted(suffixes.total(), "file is no image", "files are no images")
    message = f"{files} by name and content: {', '.join(parts)}{others}; convert those that should be images"
    return [Finding("files_passed_over", message)]
