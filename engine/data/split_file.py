"""Reads a table of splits that data.split names: a run's splits.csv, or one of the user's own."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from engine.config.schema import DataConfig
from engine.data.finding import DatasetFinding
from engine.data.source import Source, select
from engine.data.split_names import split_named
from engine.data.table_columns import USUAL_NAMES, find_split_columns
from engine.errors import InputError
from engine.files.csv_cells import text_cell
from engine.files.csv_tables import Row, TableError, decoded, read_table
from engine.files.escapes import printable
from engine.files.safe_open import open_regular
from engine.files.text_lists import listed

_LISTED = 3  # images in a message


def with_file_splits(source: Source, config: DataConfig) -> tuple[Source, list[DatasetFinding]]:
    """The images of ``source`` that the file names, with its splits; findings name images that only one of them has.

    Paths are compared as a run's splits.csv has them: relative to the dataset. Absolute ones are made so.
    Raises InputError.
    """
    table = Path(config.split)
    roots = [Path(path).resolve() for path in (config.path, config.root) if path]
    known = _read(table, roots, source.classes if source.task == "single" else [])
    names = [_normalized(sample.key) for sample in source.samples]
    chosen = [at for at, name in enumerate(names) if name in known]
    if not chosen:
        first = next(iter(known), "")
        raise InputError(
            f"{table}: none of its {len(known):,} images is in the dataset, e.g. {printable(first)}; write paths as "
            f"the dataset has them, e.g. {names[0]}"
        )
    findings = []
    if missing := known.keys() - set(names):
        message = f"{table}: {len(missing):,} of its {len(known):,} images are not in the dataset: {_listed(missing)}"
        findings.append(DatasetFinding("split_file_differs", message))
    if extra := [sample.key for sample, name in zip(source.samples, names, strict=True) if name not in known]:
        message = f"{table}: {len(extra):,} images of the dataset are not in it and are left out: {_listed(extra)}"
        findings.append(DatasetFinding("split_file_differs", message))
    samples = [source.samples[at]._replace(split=known[names[at]]) for at in chosen]
    return select(source, chosen, samples), findings


def _read(table: Path, roots: Sequence[Path], classes: Collection[str]) -> dict[str, str]:
    """The split of each path. Raises InputError, also for labels other than ``classes``, if there are any."""
    try:
        with open_regular(table) as file:
            found = read_table(decoded(file), (), USUAL_NAMES)
            path, split = find_split_columns(found.heading)
            label = found.column("label")
            rows = list(found.rows)
        splits = _splits(rows, path, split, roots)
    except OSError as error:
        raise InputError(
            f"{table}: can't be read ({error.strerror}); set data.split to auto, random, kfold or a file with splits"
        ) from None
    except TableError as error:
        raise InputError(f"{table}: {error}") from None
    known = {text_cell(name) for name in classes}
    unknown = {row.cell(label) for row in rows if label is not None} - known
    if known and unknown:
        raise InputError(
            f"{table}: its label {_listed(unknown, quote=True)} is no class of the dataset; give the splits of the "
            "same dataset, or remove the column label"
        )
    return splits


def _splits(rows: Iterable[Row], path: int, split: int, roots: Sequence[Path]) -> dict[str, str]:
    splits: dict[str, str] = {}
    for row in rows:
        name = split_named(row.cell(split))
        if not name:
            raise TableError(f'line {row.line}: split is "{row.cell(split)}"; write train, val or test')
        key = _relative(row.cell(path).strip(), roots)
        if splits.setdefault(key, name) != name:
            raise TableError(f"line {row.line}: {printable(key)} is in {splits[key]} and in {name}; keep one line")
    return splits


def _relative(path: str, roots: Sequence[Path]) -> str:
    """A path as the dataset names it."""
    if path.startswith("/"):
        for root in roots:
            if Path(path).is_relative_to(root):
                path = str(Path(path).relative_to(root))
    return _normalized(path)


def _normalized(path: str) -> str:
    return posixpath.normpath(path.replace("\\", "/"))


def _listed(names: Collection[str], *, quote: bool = False) -> str:
    return listed([f'"{name}"' if quote else printable(name) for name in sorted(names)], _LISTED)
