"""Assigns images to the training, validation and test splits, and reads and writes splits.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from engine.config.schema import KFOLD, DataConfig
from engine.data.random_split import Images, split_by_shares, split_into_folds
from engine.data.source import Sample, Strata, label_of
from engine.errors import InputError
from engine.files.csv_cells import path_cell, text_cell
from engine.files.csv_tables import TableError, decoded, read_table
from engine.files.text_lists import listed
from engine.runs.folder import write_or_warn
from engine.warning_codes import Warn

SPLITS = ("train", "val", "test")
PresentIn = Callable[[Sample], Iterable[int]]
"""The positions of the classes that an image shows."""


def class_of(sample: Sample) -> tuple[int, ...]:
    """The only class of an image."""
    return (sample.label,)


def assign_splits(
    samples: Sequence[Sample], config: DataConfig, seed: int, strata: Strata = label_of
) -> dict[str, list[int]]:
    """Disjoint indices into ``samples`` for "train", "val" and, if there is one, "test"; reproducible by ``seed``.

    Splits that samples have are kept, except as ``data.split`` says; a missing validation split is cut from training.
    A random split keeps each group of samples together. ``strata`` are balanced unless data.stratify is off.
    Raises InputError where no image is left for validation.
    """
    numbers = [strata(sample) if config.stratify else 0 for sample in samples]
    splits = _METHODS.get(config.split, _kept_or_random)(samples, numbers, config, seed)
    if not splits.get("val"):
        where = f"fold {config.fold} of {config.folds}" if config.split == KFOLD else "validation"
        what = "lower data.folds" if config.split == KFOLD else "raise data.val_fraction"
        what += " or data.limit_per_class" if config.limit_per_class and config.split != KFOLD else ""
        raise InputError(f"no image is left for {where}; add images or {what}")
    return {name: splits[name] for name in SPLITS if splits.get(name)}


def _kept_or_random(
    samples: Sequence[Sample], strata: Sequence[int], config: DataConfig, seed: int
) -> dict[str, list[int]]:
    """The samples' own splits, else random ones."""
    if any(not sample.split for sample in samples):
        return _random(samples, strata, config, seed)
    splits = {name: [i for i, sample in enumerate(samples) if sample.split == name] for name in SPLITS}
    if splits["val"]:
        return splits
    cut = split_by_shares(Images(splits["train"], samples, strata), {"val": config.val_fraction}, seed)
    return {**cut, "test": splits["test"]}


def _random(samples: Sequence[Sample], strata: Sequence[int], config: DataConfig, seed: int) -> dict[str, list[int]]:
    """Random splits by the fractions, whatever splits the samples have."""
    fractions = {"val": config.val_fraction, "test": config.test_fraction}
    return split_by_shares(Images(range(len(samples)), samples, strata), fractions, seed)


def _kfold(samples: Sequence[Sample], strata: Sequence[int], config: DataConfig, seed: int) -> dict[str, list[int]]:
    """One fold validates, the others train. The test split is the same in all folds: the samples' own, else a share."""
    test = [i for i, sample in enumerate(samples) if sample.split == "test"]
    pool = [i for i, sample in enumerate(samples) if sample.split != "test"]
    if not test and config.test_fraction:
        cut = split_by_shares(Images(pool, samples, strata), {"test": config.test_fraction}, seed)
        pool, test = cut["train"], cut["test"]
    folds = split_into_folds(Images(pool, samples, strata), config.folds, seed)
    val = folds[config.fold - 1]
    return {"train": sorted(set(pool) - set(val)), "val": val, "test": test}


_METHODS = {"random": _random, KFOLD: _kfold}


def check_classes(
    splits: dict[str, list[int]], samples: Sequence[Sample], classes: Sequence[str], present_in: PresentIn = class_of
) -> None:
    """Raises InputError for a class without training images. ``present_in``: the classes that an image shows."""
    present = {label for i in splits.get("train", []) for label in present_in(samples[i])}
    empty = [name for label, name in enumerate(classes) if label not in present]
    if empty:
        names = [f'"{name}"' for name in empty]
        raise InputError(f"no training image is left for {listed(names, 5)}; add readable images or remove the class")


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
    known = recorded_splits(path)
    if known is None:
        write_or_warn(path, _table(splits, samples, classes).encode(), warn)
        return splits
    kept = split_indices(known, samples)
    found_again = sum(map(len, kept.values()))
    if (removed := len(known) - found_again) or len(samples) > found_again:
        warn(
            "data_changed",
            f"since the run began {removed} of its images were removed and "
            f"{len(samples) - found_again} were added; added images are left out, the others keep their split "
            f"({path.name})",
        )
    return {name: members for name, members in kept.items() if members}


def recorded_splits(path: Path) -> dict[str, str] | None:
    """The split of each path in a run's splits.csv; None where it has none. Raises InputError for another table."""
    try:
        found = path.read_bytes()
    except OSError:
        return None
    try:
        return read_splits(found) if found else None
    except TableError as error:
        raise InputError(f"{path}: {error}, or remove the file to split the images again") from None


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
