"""Class folders as a data source."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from engine.config.schema import DataConfig
from engine.data.finding import Finding
from engine.data.folder_layout import find_layout
from engine.data.image_files import image_files
from engine.data.source import Sample, Source, from_files
from engine.errors import InputError
from engine.files.escapes import name_of


def folder_source(config: DataConfig) -> Source:
    """One subfolder per class, or train/ val/ test/ with those inside. Raises InputError."""
    root = Path(config.path)
    if not root.exists():
        raise InputError(f"{root}: there is no such folder; set data.path to the folder that holds the classes")
    layout = find_layout(root, config.class_depth)
    classes = layout.classes
    number = {name: label for label, name in enumerate(classes)}
    passed_over: Counter[str] = Counter()
    found = [
        (path, number[folder.label], folder.split)
        for folder in layout.folders
        for path in image_files(folder.path, passed_over)
    ]
    samples = [Sample(name_of(path.relative_to(root)), label, split) for path, label, split in found]
    findings = [*layout.findings, *_of_passed_over(passed_over)]
    return from_files([name_of(name) for name in classes], samples, lambda index: found[index][0], findings)


def _of_passed_over(suffixes: Counter[str]) -> list[Finding]:
    if not suffixes:
        return []
    parts = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in suffixes.most_common(8)]
    others = len(suffixes) - len(parts)
    message = f"{suffixes.total():,} files are no images by name and content: {', '.join(parts)}"
    return [Finding("files_passed_over", message + (f" and {others} other suffixes" if others else ""))]
