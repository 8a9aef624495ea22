"""Chooses the images that a run uses, and which of their splits it keeps, before any of them is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from engine.config.schema import KFOLD, SPLIT_METHODS, DataConfig
from engine.data.finding import DatasetFinding
from engine.data.source import Sample, Source, Strata, label_of, select
from engine.data.split_file import with_file_splits
from engine.data.splits import SPLITS, split_indices
from engine.errors import InputError
from engine.files.escapes import printable

_LISTED = 3  # groups in a message


def select_images(
    source: Source, config: DataConfig, seed: int, recorded: Mapping[str, str] | None, strata: Strata = label_of
) -> tuple[Source, list[DatasetFinding]]:
    """The images that a run decodes, with the splits that ``data.split`` keeps, and findings about them.

    ``recorded``: the splits.csv of a run that is resumed or evaluated: it uses the images that it began with.
    ``strata``: data.limit_per_class is for each of them. Raises InputError.
    """
    has_file = config.split not in SPLIT_METHODS
    if recorded is not None:
        if not (config.limit_per_class or has_file):
            return source, []
        members = sorted(at for indices in split_indices(recorded, source.samples).values() for at in indices)
        if not members:
            raise InputError("none of the run's images is in the dataset any more; restore it, or start a new run")
        return select(source, members), []
    if has_file:
        source, findings = with_file_splits(source, config)
    else:
        findings = list(_ignored_splits(source.samples, config.split))
        if ignored := {"random": SPLITS, KFOLD: ("train", "val")}.get(config.split):
            kept = [one._replace(split="") if one.split in ignored else one for one in source.samples]
            source = select(source, range(len(kept)), kept)
    findings += _groups_in_several_splits(source.samples)
    if config.limit_per_class:
        source = select(source, _limited(source.samples, config.limit_per_class, seed, strata))
    return source, findings


def _ignored_splits(samples: Sequence[Sample], method: str) -> Iterator[DatasetFinding]:
    """Says which of the dataset's own splits ``method`` leaves out."""
    counts = Counter(sample.split for sample in samples if sample.split)
    own = ", ".join(f"{counts[name]:,} {name}" for name in SPLITS if counts[name])
    if method == "random" and own:
        yield DatasetFinding(
            "own_splits_ignored", f'the dataset\'s own splits ({own}) are left out, as data.split = "random"'
        )
    if method == KFOLD and (counts["val"] or counts["test"]):
        test = f"; its {counts['test']:,} test images stay the test split" if counts["test"] else ""
        message = f'the dataset\'s own splits ({own}): data.split = "kfold" divides training and validation anew{test}'
        yield DatasetFinding("own_splits_ignored", message)


def _groups_in_several_splits(samples: Sequence[Sample]) -> Iterator[DatasetFinding]:
    """A finding where splits that are kept divide groups."""
    splits: dict[str, set[str]] = {}
    for sample in samples:
        if sample.group:  # undecided samples beside others train or validate
            splits.setdefault(sample.group, set()).add(sample.split or "train")
    divided = sorted(group for group, names in splits.items() if len(names) > 1)
    if divided:
        shown = ", ".join(f"{printable(group)} in {' and '.join(sorted(splits[group]))}" for group in divided[:_LISTED])
        yield DatasetFinding(
            "groups_in_several_splits",
            f"{len(divided):,} of {len(splits):,} groups (data.group_column) are in several splits, e.g. {shown}: the "
            'metrics are optimistic; data.split = "random" keeps each group in one split',
        )


def _limited(samples: Sequence[Sample], most: int, seed: int, strata: Strata) -> list[int]:
    """Positions of at most ``most`` samples of each split and stratum, drawn by ``seed``, in order."""
    order = np.random.default_rng(seed).permutation(len(samples)).tolist()
    taken: Counter[tuple[str, int]] = Counter()
    chosen = []
    for at in order:
        place = samples[at].split, strata(samples[at])
        if taken[place] < most:
            taken[place] += 1
            chosen.append(at)
    return sorted(chosen)
