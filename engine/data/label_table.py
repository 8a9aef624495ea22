"""Writes a table of the images in a folder whose file names hold the class. Imports neither torch nor Pillow."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from engine.data.image_files import image_files
from engine.errors import InputError
from engine.files.atomic import write_atomically
from engine.files.csv_cells import path_cell, text_cell


def write_label_table(folder: Path, pattern: str, table: Path) -> int:
    """Writes ``table``: the path and the label of every image below ``folder``; returns the number of classes.

    ``pattern`` is a regular expression for the whole file name without suffix; its first group is the label.
    Raises InputError, and writes nothing, where an image does not match or ``table`` exists.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--label-from {pattern}: is no regular expression ({error})") from None
    if not expression.groups:
        raise InputError(f"--label-from {pattern}: has no group; put parentheses around the class, e.g. '(.+)_\\d+'")
    if table.exists():
        raise InputError(f"{table}: is there already; remove it, or write run.toml into another folder with -o")
    rows = [(path, _label(expression, path)) for path in image_files(folder)]
    if not rows:
        raise InputError(f"{folder}: no images found; --data takes the folder with your images")
    content = io.StringIO(newline="")
    writer = csv.writer(content)
    writer.writerow(["path", "label"])
    base = table.parent.absolute()
    for path, label in rows:
        whole = path.absolute()
        where = whole.relative_to(base) if whole.is_relative_to(base) else whole
        writer.writerow([path_cell(str(where)), text_cell(label)])
    try:
        write_atomically(table, content.getvalue().encode())
    except (OSError, UnicodeEncodeError) as error:
        raise InputError(f"{table}: can't be written ({error}); choose another folder with -o") from None
    return len({label for _, label in rows})


def _label(expression: re.Pattern[str], path: Path) -> str:
    found = expression.fullmatch(path.stem)
    if not found or not found[1]:
        raise InputError(f"{path}: its name does not match --label-from {expression.pattern}; change the pattern")
    return found[1].strip()
