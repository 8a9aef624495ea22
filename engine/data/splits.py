"""Which image is for training, validation and test."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.config.schema import DataConfig
from engine.data.source import Sample
from engine.errors import InputError
from engine.files.csv_cells import path_cell, text_cell
from engine.files.csv_tables import TableError, decoded, read_table
from engine.runs.folder import write_or_warn
from engine.warning_codes import Warn

SPLITS = ("train", "val", "test")


def split(images: Sequence[Sample], config: DataConfig, seed: int) -> dict[str, list[int]]:
    """Indices into ``images`` for "train", "val" and, if there is one, "test"; disjoint, the same for a seed.

    A source's own splits are kept; only a missing validation split is taken from its training images.
    """
    given = {name: [i for i, image in enumerate(images) if image.split == name] for name in SPLITS}
    undecided = [i for i, image in enumerate(images) if not image.split]
    if undecided:
        shares = {"val": config.val_fraction, "test": config.test_fraction}
        given = _deal(undecided, images, shares, seed, stratify=config.stratify)
    elif not given["val"]:
        rest = _deal(given["train"], images, {"val": config.val_fraction}, seed, stratify=config.stratify)
        given = {**rest, "test": given["test"]}
    if not given["val"]:
        raise InputError("no image is left for validation; add images or raise data.val_fraction")
    return {name: given[name] for name in SPLITS if given.get(name)}


def check_classes(splits: dict[str, list[int]], images: Sequence[Sample], classes: Sequence[str]) -> None:
    """Raises InputError for a class without training images."""
    present = {images[i].label for i in splits.get("train", [])}
    empty = [name for label, name in enumerate(classes) if label not in present]
    if empty:
        names = ", ".join(f'"{name}"' for name in empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        raise InputError(f"no training image is left for {names}; add readable images or remove the class")


def classes_missing(
    splits: dict[str, list[int]], images: Sequence[Sample], classes: Sequence[str]
) -> dict[str, list[str]]:
    """For validation and test the classes of which they hold no image, where there are any."""
    present = {name: {images[i].label for i in members} for name, members in splits.items() if name != "train"}
    missing = {
        name: [known for label, known in enumerate(classes) if label not in labels] for name, labels in present.items()
    }
    return {name: absent for name, absent in missing.items() if absent}


def keep_splits(
    path: Path,
    splits: dict[str, list[int]],
    images: Sequence[Sample],
    classes: Sequence[str],
    warn: Warn,
) -> dict[str, list[int]]:
    """Write splits.csv: path, label, split of every image that is used; or keep to it, where the run has one already.

    Returns the splits in force. No image ever changes from one to another: what is new since is left out.
    """
    wanted = _table(splits, images, classes).encode()
    try:
        found = path.read_bytes()
    except OSError:
        found = b""
    if found == wanted:
        return splits
    if not found:
        write_or_warn(path, wanted, warn)
        return splits
    try:
        known = read_splits(found)
    except TableError as error:
        raise InputError(f"{path}: {error}, or remove the file to split the images anew") from None
    kept = members_of(known, images)
    there = sum(map(len, kept.values()))
    warn(
        "data_changed",
        f"since the run began {len(known) - there} of its images went and {len(images) - there} came; "
        f"what came is left out, the others stay in their splits ({path.name})",
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


def members_of(known: Mapping[str, str], images: Sequence[Sample]) -> dict[str, list[int]]:
    """Each split's positions in ``images``, where ``known`` is the split of each path."""
    split_of = [known.get(path_cell(image.key)) for image in images]
    return {name: [i for i, where in enumerate(split_of) if where == name] for name in SPLITS}


def _table(splits: dict[str, list[int]], images: Sequence[Sample], classes: Sequence[str]) -> str:
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["path", "label", "split"])
    for name, indices in splits.items():
        writer.writerows([path_cell(images[i].key), text_cell(classes[images[i].label]), name] for i in indices)
    return table.getvalue()


def _deal(
    indices: Sequence[int], images: Sequence[Sample], shares: dict[str, float], seed: int, *, stratify: bool
) -> dict[str, list[int]]:
    """Deal ``indices`` out: to each of ``shares`` its part, the rest to "train", class by class if ``stratify``.

    scikit-learn's stratified split refuses classes of one image; here the first goes to training.
    """
    random = np.random.default_rng(seed)
    groups: dict[int, list[int]] = {}
    for i in indices:
        groups.setdefault(images[i].label if stratify else 0, []).append(i)
    dealt: dict[str, list[int]] = {"train": [], **{name: [] for name in shares}}
    for label in sorted(groups):
        group = [groups[label][at] for at in random.permutation(len(groups[label]))]
        for name, share in shares.items():
            take = min(round(share * len(groups[label])), max(len(group) - 1, 0))
            dealt[name] += group[:take]
            group = group[take:]
        dealt["train"] += group
    return {name: sorted(members) for name, members in dealt.items()}
