"""Assigns images to the training, validation and test splits, and reads and writes splits.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.config.schema import DataConfig
from engine.data.group_split import group_split
from engine.data.source import Sample
from engine.errors import InputError
from engine.files.csv_cells import path_cell, text_cell
from engine.files.csv_tables import TableError, decoded, read_table
from engine.runs.folder import write_or_warn
from engine.warning_codes import Warn

SPLITS = ("train", "val", "test")
PresentIn = Callable[[Sample], Iterable[int]]
"""The positions of the classes that an image shows."""


def class_of(sample: Sample) -> tuple[int, ...]:
    """The only class of an image."""
    return (sample.label,)


def assign_splits(samples: Sequence[Sample], config: DataConfig, seed: int) -> dict[str, list[int]]:
    """Disjoint indices into ``samples`` for "train", "val" and, if there is one, "test"; reproducible by ``seed``.

    A source's own splits are kept. Only a missing validation split is cut from its training images. A random split
    keeps each group of samples together.
    Raises InputError where no image is left for validation.
    """
    splits = {name: [i for i, sample in enumerate(samples) if sample.split == name] for name in SPLITS}
    undecided = [i for i, sample in enumerate(samples) if not sample.split]
    random_split = group_split if any(sample.group for sample in samples) else _random_split
    if undecided:
        fractions = {"val": config.val_fraction, "test": config.test_fraction}
        splits = random_split(undecided, samples, fractions, seed, stratify=config.stratify)
    elif not splits["val"]:
        cut = random_split(splits["train"], samples, {"val": config.val_fraction}, seed, stratify=config.stratify)
        splits = {**cut, "test": splits["test"]}
    if not splits["val"]:
        raise InputError("no image is left for validation; add images or raise data.val_fraction")
    return {name: splits[name] for name in SPLITS if splits.get(name)}


def check_classes(
    splits: dict[str, list[int]], samples: Sequence[Sample], classes: Sequence[str], present_in: PresentIn = class_of
) -> None:
    """Raises InputError for a class without training images. ``present_in``: the classes that an image shows."""
    present = {label for i in splits.get("train", []) for label in present_in(samples[i])}
    empty = [name for label, name in enumerate(classes) if label not in present]
    if empty:
        names = ", ".join(f'"{name}"' for name in empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        raise InputError(f"no training image is left for {names}; add readable images or remove the class")


def missing_classes(
    splits: dict[str, list[int]], samples: Sequence[Sample], classes: Sequence[str], present_in: PresentIn = class_of
) -> dict[str, list[str]]:
    """The classes without images in validation and test, for each of these splits that lacks any."""
    present = {
        name: {label for i in members for label in present_in(samples[i])}
        for name, members in splits.items()
        if name != "train"
    }
    missing = {
        name: [known for label, known in enumerate(classes) if label not in labels] for name, labels in present.items()
    }
    return {name: absent for name, absent in missing.items() if absent}


def restore_splits(
    path: Path,
    splits: dict[str, list[int]],
    samples: Sequence[Sample],
    classes: Sequence[str],
    warn: Warn,
) -> dict[str, list[int]]:
    """Returns the splits that an existing splits.csv records, else writes ``splits`` there: path, label, split.

    No image ever changes its split. Images added since the run began are left out, with a warning.
    """
    content = _table(splits, samples, classes).encode()
    try:
        found = path.read_bytes()
    except OSError:
        found = b""
    if found == content:
        return splits
    if not found:
        write_or_warn(path, content, warn)
        return splits
    try:
        known = read_splits(found)
    except TableError as error:
        raise InputError(f"{path}: {error}, or remove the file to split the images again") from None
    kept = split_indices(known, samples)
    found_again = sum(map(len, kept.values()))
    warn(
        "data_changed",
        f"since the run began {len(known) - found_again} of its images were removed and "
        f"{len(samples) - found_again} were added; added images are left out, the others keep their split "
        f"({path.name})",
    )
    return {name: members for name, members in kept.items() if members}


def read_splits(content: bytes) -> dict[str, str]:
    """The split of each path, from the content of a splits.csv. Raises TableError for another table."""
    table = read_table(decoded(io.BytesIO(content)), ("path", "split"))
    path, split = table.column("path"), table.column("split")
    known: dict[str, str] = {}
    for row in table.rows:
        if row.cell(split) not in SPLITS:
            raise TableError(f'line {row.line}: split is "{row.cell(split)}"; write {", ".join(SPLITS)}')
        known[row.cell(path)] = row.cell(split)
    return known


def split_indices(known: Mapping[str, str], samples: Sequence[Sample]) -> dict[str, list[int]]:
    """The indices into ``samples`` of each split; ``known`` maps a path to its split."""
    split_of = [known.get(path_cell(sample.key)) for sample in samples]
    return {name: [i for i, where in enumerate(split_of) if where == name] for name in SPLITS}


def _table(splits: dict[str, list[int]], samples: Sequence[Sample], classes: Sequence[str]) -> str:
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["path", "label", "split"])
    for name, indices in splits.items():
        writer.writerows([path_cell(samples[i].key), text_cell(samples[i].describe(classes)), name] for i in indices)
    return table.getvalue()


def _random_split(
    indices: Sequence[int], samples: Sequence[Sample], fractions: dict[str, float], seed: int, *, stratify: bool
) -> dict[str, list[int]]:
    """Splits ``indices`` at random by ``fractions``, the rest to "train"; class by class if ``stratify``.

    scikit-learn's stratified split refuses classes of one image; here that image goes to training.
    """
    random = np.random.default_rng(seed)
    by_class: dict[int, list[int]] = {}
    for i in indices:
        by_class.setdefault(samples[i].label if stratify else 0, []).append(i)
    splits: dict[str, list[int]] = {"train": [], **{name: [] for name in fractions}}
    for label in sorted(by_class):
        members = [by_class[label][at] for at in random.permutation(len(by_class[label]))]
        for name, fraction in fractions.items():
            count = min(round(fraction * len(by_class[label])), max(len(members) - 1, 0))
            splits[name] += members[:count]
            members = members[count:]
        splits["train"] += members
    return {name: sorted(members) for name, members in splits.items()}
