"""Scans a dataset without decoding it: formats, values, classes, copies, contradictions. Imports no torch.

One pass over the files, and none over those that are unchanged since an earlier scan or run.
"""

from __future__ import annotations

import io
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

from PIL import Image
from PIL.ImageFile import ImageFile

from engine.cache.file_digests import FileDigests, as_keys
from engine.cache.folder import cache_root
from engine.config.data_sources import dataset_label
from engine.config.schema import DataConfig
from engine.config.tasks import TASKS
from engine.data.decode import map_in_threads, open_sample
from engine.data.finding import DatasetFinding, counted
from engine.data.image import why_unreadable
from engine.data.image_contents import SINGLE, Contents, describe_copies, summarize
from engine.data.image_facts import ImageFacts, facts_space, image_facts, known_facts, pack
from engine.data.scan_results import DatasetScan, NumberRange, ScanFinding
from engine.data.selection import select_images
from engine.data.source import Source, class_counts
from engine.data.sources import open_learnable
from engine.data.splits import SPLITS
from engine.data.unreadable import why_unusable
from engine.data.value_range import measure
from engine.files.escapes import printable
from engine.files.text_lists import listed
from engine.runs.dataset_summary import SkippedFile
from engine.runs.progress import Report

IMBALANCED = 5
"""The ratio of largest to smallest class from which classes count as imbalanced."""

_SEED = 42  # that of train.seed: it draws the images of data.limit_per_class
_SAVED = 30.0  # seconds between saves of what a long scan has read
_LISTED = 5
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}  # what the last bytes of an intact file hold
_TAIL = 1024  # bytes; some cameras write more after the end


def scan(config: DataConfig, report: Report) -> DatasetScan:
    """Scans the dataset that ``config`` names. Raises InputError where it has no labelled images."""
    start = time.monotonic()
    source, chosen = select_images(open_learnable(config), config, _SEED, None)
    contents, unreadable = _read(source, config, report)
    summary, findings = summarize(contents)
    split_counts = Counter(sample.split for sample in source.samples)
    readable = replace(source, samples=contents.samples)
    counts = _counts(readable)
    findings = [
        *source.findings,
        *chosen,
        *_of_unreadable(unreadable),
        *findings,
        *describe_copies(contents),
        *_of_classes(
            counts if source.task == SINGLE else {}, 1 if any(split_counts.keys() - {""}) else _fewest(config)
        ),
    ]
    return DatasetScan(
        path=printable(config.path or config.name),
        source=config.resolved_source,
        task=source.task,
        summary=summary,
        classes=counts,
        numbers=_numbers(readable),
        splits={name: split_counts[name] for name in (*SPLITS, "") if split_counts[name]},
        groups=len({sample.group for sample in source.samples if sample.group}),
        unreadable=unreadable,
        passed_over=dict(source.passed_over),
        findings=[ScanFinding(finding.code, finding.message) for finding in findings],
        problem=why_unusable(unreadable, len(source.samples)),
        seconds=time.monotonic() - start,
    )


def _read(source: Source, config: DataConfig, report: Report) -> tuple[Contents, list[SkippedFile]]:
    """The contents of all readable images, and the files that can't be read."""
    root, total = cache_root(), len(source.samples)
    files = FileDigests(root)
    space = facts_space(root, dataset_label(config.source, config.path, config.name))
    keys: dict[int, bytes] = {}
    facts: dict[int, ImageFacts] = {}
    known_facts(source, files, space, keys, facts)
    unreadable: list[SkippedFile] = []

    def work(index: int) -> tuple[bytes, ImageFacts] | str:
        try:
            content, image = open_sample(source, index, files.read)
            found = image_facts(image)
            _refuse_cut_off(image)
            return content, found
        except Exception as error:  # Pillow's plugins raise nearly anything for a damaged file
            return printable(why_unreadable(error))

    missing = [index for index in range(total) if index not in facts]
    report("scan", total - len(missing), total, "images")
    saved = time.monotonic()
    try:
        for done, (index, result) in enumerate(map_in_threads(work, missing), total - len(missing) + 1):
            if isinstance(result, str):
                unreadable.append(SkippedFile(path=source.samples[index].key, reason=result))
            else:
                keys[index], facts[index] = result
                space.append(as_keys([result[0]]), [pack(result[1])])
            if time.monotonic() - saved > _SAVED:
                files.save()
                saved = time.monotonic()
            report("scan", done, total, "images")
    finally:
        files.save()
        space.close()
    readable = sorted(facts)
    read = [facts[index] for index in readable]
    contents = Contents(
        source.classes if source.task == SINGLE else [],
        [source.samples[index] for index in readable],
        [keys[index] for index in readable],
        read,
        config.fixed_value_range or measure([one.quantiles for one in read if one.quantiles is not None]),
    )
    return contents, unreadable


def _refuse_cut_off(image: Image.Image) -> None:
    """Decodes an image whose file lacks its end; raises OSError where pixels are missing."""
    mark = _ENDS.get(image.format or "")
    if not (mark and isinstance(image, ImageFile) and isinstance(image.fp, io.BytesIO)):
        return
    if mark not in image.fp.getbuffer()[-_TAIL:].tobytes():
        image.load()


def _counts(source: Source) -> dict[str, int]:
    """Images per class or label, the largest first; per rank in their order; {} for numbers."""
    if TASKS[source.task].shows == "nothing":
        return {}
    counts = class_counts(source)
    return counts if source.task == "ordinal" else dict(sorted(counts.items(), key=lambda item: -item[1]))


def _numbers(source: Source) -> dict[str, NumberRange]:
    """The range of each number to predict; {} for other tasks."""
    if TASKS[source.task].shows != "nothing":
        return {}
    columns = zip(source.classes, zip(*(sample.target for sample in source.samples), strict=True), strict=False)
    return {name: NumberRange(min(values), fmean(values), max(values)) for name, values in columns}


def _of_unreadable(files: list[SkippedFile]) -> Iterator[DatasetFinding]:
    if files:
        shown = listed([f"{file.path} ({file.reason})" for file in files], _LISTED)
        yield DatasetFinding(
            "unreadable", f"{counted(len(files), 'file', 'files')} can't be read: {shown}; replace or remove them"
        )


def _fewest(config: DataConfig) -> int:
    """The number of images from which a random split puts some of a class into validation."""
    return next(count for count in itertools.count(2) if round(config.val_fraction * count) >= 1)


def _of_classes(counts: dict[str, int], fewest: int) -> Iterator[DatasetFinding]:
    """Findings about class balance.

    ``counts``: images per class, the largest first. ``fewest``: how many a class needs to be in every split.
    """
    if not counts:
        return
    large, small = next(iter(counts)), next(reversed(counts))
    few = [name for name, count in counts.items() if count < fewest]
    if few:
        found = counted(len(few), "class has", "classes have")
        yield DatasetFinding(
            "class_too_small",
            f"{found} fewer than {fewest} images ({listed(few, _LISTED)}), too few for validation; add images, raise "
            "data.val_fraction, or remove the classes",
        )
    if counts[large] >= IMBALANCED * counts[small]:
        yield DatasetFinding(
            "classes_imbalanced",
            f"the classes differ in size, from {counts[large]:,} images ({large}) to {counts[small]:,} ({small}); "
            'train.class_weights = "balanced" lets rare classes weigh more',
        )
