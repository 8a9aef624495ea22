"""Finds splits and class folders in a dataset's folder or archive.

Imports neither torch nor Pillow: the app uses it, too.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from engine.data.file_tree import DISK, FileTree
from engine.data.finding import DatasetFinding
from engine.data.image_files import holds_images, own_images, subfolders
from engine.data.split_names import is_plain, split_named
from engine.errors import InputError
from engine.files.escapes import name_of
from engine.files.text_lists import listed

_LISTED = 5  # names in a message
_SAMPLED_NAMES = 2000  # file names that are searched for a class


@dataclass(frozen=True)
class ClassFolder:
    """A folder whose images all belong to class ``label`` and to ``split``, "" while undecided."""

    label: str
    split: str
    path: Path


@dataclass
class FolderLayout:
    """The class folders of a dataset, in order; ``findings`` are warnings about what was assumed or left out."""

    root: Path
    tree: FileTree = DISK
    folders: list[ClassFolder] = field(default_factory=list)
    findings: list[DatasetFinding] = field(default_factory=list)
    unused: dict[str, list[str]] = field(default_factory=dict)  # why → folders

    @property
    def classes(self) -> list[str]:
        """The names of the classes, sorted."""
        return sorted({folder.label for folder in self.folders})

    def leave_out(self, folder: Path, why: str) -> None:
        """Notes a folder that is not used."""
        where = folder.relative_to(self.root) if folder.is_relative_to(self.root) else folder
        name = f"{name_of(where)}/" if where.name else "the folder itself"
        if name not in self.unused.setdefault(why, []):
            self.unused[why].append(name)


def find_layout(root: Path, class_depth: int = 0, tree: FileTree = DISK) -> FolderLayout:
    """Finds splits and class folders below ``root``; ``class_depth`` as data.class_depth. Raises InputError.

    Splits are folders with a split's name that hold class folders. Folders without images are left out.
    """
    layout = FolderLayout(root, tree)
    top, names = _unwrapped(layout)
    splits = _split_folders(top, names, layout)
    if not splits:
        if not class_depth:
            _refuse_unnamed_splits(top, names, tree)
        splits = {"": top}
    found = {split: _class_folders(folder, split, class_depth, layout) for split, folder in splits.items()}
    if "train" in splits:
        _leave_out_unlabelled(found, layout)
    layout.folders = [folder for folders in found.values() for folder in folders]
    if not layout.folders:
        raise InputError(_no_classes(top, class_depth, tree))
    if not class_depth:
        _warn_of_nested_classes(layout)
    if beside := sum(1 for _ in own_images(top, layout.tree)):
        layout.leave_out(top, f"{beside:,} images beside the folders")
    if layout.unused:
        parts = "; ".join(f"{_listed(folders)} ({why})" for why, folders in layout.unused.items())
        layout.findings.append(DatasetFinding("unused_folders", f"not used: {parts}"))
    return layout


def _unwrapped(layout: FolderLayout) -> tuple[Path, list[str]]:
    """Descends while a folder holds one folder with images and no images itself; returns the end and its folders."""
    root = top = layout.root
    names = _with_images(top, layout)
    while len(names) == 1 and not split_named(names[0]) and not _has_own(top, layout.tree):
        inside = top / names[0]
        if not _holds_class_folders(inside, layout.tree):
            break
        top, names = inside, _with_images(inside, layout)
    if top != root:
        message = f"{root} holds one folder and no images; the dataset is read from {top.relative_to(root)}/"
        layout.findings.append(DatasetFinding("wrapped_folder", message))
    return top, names


def _with_images(folder: Path, layout: FolderLayout) -> list[str]:
    """The subfolders that hold images; the others are left out."""
    filled = []
    for name in subfolders(folder, layout.tree):
        if holds_images(folder / name, layout.tree):
            filled.append(name)
        else:
            layout.leave_out(folder / name, "no images")
    return filled


def _split_folders(top: Path, names: Sequence[str], layout: FolderLayout) -> dict[str, Path]:
    """The folder of each split, without wrapping folders; {} where the folders are no splits."""
    named = {name: split for name in names if (split := split_named(name))}
    holders = {name: split for name, split in named.items() if _holds_class_folders(top / name, layout.tree)}
    trains = [name for name, split in holders.items() if split == "train"]
    if not trains:
        if named and len(named) == len(names) and any(map(is_plain, named)):
            raise InputError(_no_training_classes(top, named, layout.tree))
        return {}
    found: dict[str, str] = {}
    for name, split in holders.items():
        if split in found:
            raise InputError(f"{top}: {found[split]}/ and {name}/ both mean {split}; leave one of them")
        found[split] = name
    for name in names:
        if name not in holders:
            layout.leave_out(top / name, _why_no_split(top / name, layout.tree))
    return {split: _innermost(top / name, layout.tree) for split, name in found.items()}


def _no_training_classes(top: Path, named: Mapping[str, str], tree: FileTree) -> str:
    """The sentence for folders that are all called like splits, none of which is train/ with class folders."""
    train = next((name for name, split in named.items() if split == "train"), None)
    if train is None:
        return f"{top}: has {_folders(named)} and no train/; add it"
    hint = _hint_of_labels(top / train, tree)
    return (
        f"{top}: {train}/ holds images and no class folders; "
        f"{hint or 'put the images of each class into a subfolder, or list them in a table (data.source = csv)'}"
    )


def _why_no_split(folder: Path, tree: FileTree) -> str:
    if _holds_class_folders(folder, tree):
        return "a name of no split"
    return f"{sum(1 for _ in own_images(folder, tree)):,} images without labels: `tltui predict` classifies them"


def _holds_class_folders(folder: Path, tree: FileTree) -> bool:
    return not _has_own(folder, tree) and any(holds_images(folder / name, tree) for name in subfolders(folder, tree))


def _innermost(folder: Path, tree: FileTree) -> Path:
    """Descends through doubled folders such as seg_train/seg_train/."""
    while len(names := subfolders(folder, tree)) == 1 and _holds_class_folders(folder / names[0], tree):
        folder /= names[0]
    return folder


def _class_folders(folder: Path, split: str, class_depth: int, layout: FolderLayout) -> list[ClassFolder]:
    """The folders whose names are the classes, in or two levels below ``folder``."""
    parents = [folder]
    if class_depth == 2:
        parents = [folder / name for name in _with_images(folder, layout)]
        for parent in parents:
            if own := sum(1 for _ in own_images(parent, layout.tree)):
                layout.leave_out(parent, f"{own:,} images above the class folders")
    return [ClassFolder(name, split, parent / name) for parent in parents for name in _with_images(parent, layout)]


def _leave_out_unlabelled(found: dict[str, list[ClassFolder]], layout: FolderLayout) -> None:
    """Leaves out a split with one folder that is no class of training, such as test/unknown/."""
    known = {folder.label for folder in found["train"]}
    for split, folders in found.items():
        labels = {folder.label for folder in folders}
        if len(labels) == 1 and not labels & known:
            for folder in folders:
                layout.leave_out(folder.path, "images without a class of train/: `tltui predict` classifies them")
            found[split] = []


def _refuse_unnamed_splits(top: Path, names: Sequence[str], tree: FileTree) -> None:
    """Raises InputError where the top folders look like splits with unknown names: all hold the same folders."""
    if len(names) < 2 or len(names) > 10 or any(_has_own(top / name, tree) for name in names):
        return
    inside = [set(subfolders(top / name, tree)) for name in names]
    shared, every = set.intersection(*inside), set.union(*inside)
    if len(shared) >= 2 and 2 * len(shared) >= len(every):
        raise InputError(
            f"{top}: {_folders(names)} hold the same folders ({_listed(sorted(shared))}) and no images of their own, "
            f"so they look like splits; name them train, val and test, or set data.class_depth = 1 for the classes "
            f"{_listed(names)} or 2 for {_listed(sorted(shared))}"
        )


def _warn_of_nested_classes(layout: FolderLayout) -> None:
    below: dict[str, None] = {}
    parents: dict[str, None] = {}
    for folder in layout.folders:
        inside = subfolders(folder.path, layout.tree)
        names = [name for name in inside if holds_images(folder.path / name, layout.tree)]
        if len(names) >= 2 and not _has_own(folder.path, layout.tree):
            parents[folder.label] = None
            below.update(dict.fromkeys(names))
    if parents:
        message = (
            f"class folders hold folders ({_listed(list(below))}); the class is the top folder "
            f"({_listed(layout.classes)}), data.class_depth = 2 takes the folders below"
        )
        layout.findings.append(DatasetFinding("nested_classes", message))


def _no_classes(top: Path, class_depth: int, tree: FileTree) -> str:
    """The sentence for a folder without class folders."""
    if hint := _hint_of_labels(top, tree):
        return f"{top}: holds no class folders; {hint}"
    names = subfolders(top, tree)
    if not names:
        return f"{top}: holds no class folders; put the images of each class into a subfolder"
    if class_depth == 2 and holds_images(top, tree):
        return f"{top}: no folders with images two levels below; data.class_depth = 2 takes those as classes"
    return f"{top}: no images found in {_folders(names)}; put the images of each class into a subfolder"


def _hint_of_labels(folder: Path, tree: FileTree) -> str:
    """What to do where the names of the images in ``folder`` begin with their class; else ""."""
    labels = labels_in_names(islice(own_images(folder, tree), _SAMPLED_NAMES))
    if not labels:
        return ""
    command = f"tltui new --data {shlex.quote(str(folder))} --label-from {shlex.quote(LABEL_PATTERN)}"
    return f"the names of its images begin with a class ({_listed(labels)}): `{command}` writes a table from them"


LABEL_PATTERN = r"(.+?)[ ._(-]*\d+\)?"
"""Matches a whole file name without suffix; its group is the class: "cat.12" and "cat (12)" → "cat"."""


def labels_in_names(names: Iterable[str]) -> list[str]:
    """The classes that numbered file names begin with, such as cat.0.jpg and dog.0.jpg; [] where there are none."""
    stems = [Path(name).stem for name in names]
    counts = Counter(found[1] for stem in stems if (found := re.fullmatch(LABEL_PATTERN, stem)))
    repeated = {label: count for label, count in counts.items() if count > 1 and any(map(str.isalpha, label))}
    if len(repeated) < 2 or sum(repeated.values()) < 0.9 * len(stems):
        return []
    return sorted(repeated)


def _has_own(folder: Path, tree: FileTree) -> bool:
    return next(own_images(folder, tree), None) is not None


def _folders(names: Collection[str]) -> str:
    return _listed([f"{name}/" for name in names])


def _listed(names: Collection[str]) -> str:
    return listed([name_of(name) for name in names], _LISTED)
