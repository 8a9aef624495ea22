"""Where images come from: each source gives the same small thing, a Source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from engine.config.schema import DataConfig
from engine.data import torchvision_source
from engine.data.folder_source import SPLIT_FOLDERS, SUFFIXES, image_files, split_roots, subfolders
from engine.data.source import Sample, Source, from_files
from engine.errors import InputError
from engine.files.csv_tables import TableError, decoded, read_table
from engine.files.escapes import name_of, printable
from engine.files.safe_open import open_regular


def open_source(config: DataConfig) -> Source:
    """The source that the config names. Raises InputError where it is not there or has no images."""
    source = _SOURCES[config.source](config)
    if not source.images:
        raise InputError(f"{config.path or config.name}: no images found ({', '.join(sorted(SUFFIXES))})")
    if len(source.classes) < 2:
        raise InputError(
            f'{config.path or config.name}: only the class "{source.classes[0]}" was found; a classifier needs two'
        )
    return source


def folder_source(config: DataConfig) -> Source:
    """One subfolder a class, or train/ val/ test/ with those inside."""
    root = Path(config.path)
    if not root.exists():
        raise InputError(f"{root}: there is no such folder; set data.path to the folder that holds the classes")
    roots = split_roots(root)
    classes = sorted({name for folder in roots.values() for name in subfolders(folder)})
    if not classes:
        raise InputError(f"{root}: holds no class folders; put the images of each class into a subfolder")
    found = [
        (path, label, split)
        for split, folder in roots.items()
        for label, name in enumerate(classes)
        for path in image_files(folder / name)
    ]
    images = [Sample(name_of(path.relative_to(root)), label, split) for path, label, split in found]
    return from_files([name_of(name) for name in classes], images, lambda index: found[index][0])


def csv_source(config: DataConfig) -> Source:
    """A table with the columns path, label and perhaps split; paths are relative to the table's folder."""
    table = Path(config.path)
    rows: list[tuple[str, str, str]] = []
    try:
        with open_regular(table) as file:
            found = read_table(decoded(file), ("path", "label"))
            columns = [found.column(name) for name in ("path", "label", "split")]
            for row in found.rows:
                path, label, split = map(row.cell, columns)
                if split and split not in SPLIT_FOLDERS:
                    raise InputError(f'{table}, line {row.line}: split is "{split}"; write train, val or test')
                if not path or not label:
                    raise InputError(f"{table}, line {row.line}: path or label is empty")
                if "\0" in path:
                    raise InputError(f"{table}, line {row.line}: no path of a file holds a zero byte")
                rows.append((path, label, SPLIT_FOLDERS.get(split, "")))
    except OSError as error:
        raise InputError(f"{table}: can't be read ({error.strerror}); set data.path to the csv file") from None
    except TableError as error:
        raise InputError(f"{table}: {error}") from None
    if any(split for *_, split in rows) and not all(split for *_, split in rows):
        raise InputError(f"{table}: the column split is filled in some rows only; fill it in all or in none")
    classes = sorted({label for _, label, _ in rows})
    number = {label: index for index, label in enumerate(classes)}
    images = [Sample(printable(path), number[label], split) for path, label, split in rows]
    return from_files([printable(label) for label in classes], images, lambda index: table.parent / rows[index][0])


def digits_source(config: DataConfig) -> Source:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    pixels = (digits.images * (255 / 16)).round().astype("uint8")
    images = [Sample(f"digit-{index:04}", int(label), "") for index, label in enumerate(digits.target)]
    return Source([str(digit) for digit in range(10)], images, lambda index: Image.fromarray(pixels[index]))


_SOURCES: dict[str, Callable[[DataConfig], Source]] = {
    "folder": folder_source,
    "csv": csv_source,
    "torchvision": torchvision_source.torchvision_source,
    "digits": digits_source,
}
