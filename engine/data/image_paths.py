"""Finds the files that a table's paths name, also where the suffix is left out."""

from __future__ import annotations

import os
from functools import cache, partial
from pathlib import Path

from engine.data.file_tree import DISK, FileTree
from engine.data.image_files import is_image
from engine.errors import InputError


class ImagePaths:
    """Resolves paths below ``root``; ``found`` tells whether any of them was there. Lists each folder once."""

    def __init__(self, root: Path, tree: FileTree = DISK) -> None:
        self.found = False
        self._root = root
        self._listed = cache(partial(_names_by_stem, tree))

    def find(self, path: str) -> Path:
        """The file at ``path``, or the image there with a suffix; ``path`` itself where there is neither.

        Raises InputError where several images differ by their suffix alone.
        """
        file = self._root / path
        names, by_stem = self._listed(file.parent)
        if file.name in names:
            self.found = True
            return file
        images = by_stem.get(file.name, ())
        if len(images) > 1:
            raise InputError(f"{path} may be {' or '.join(images)}; write the suffix, too")
        if images:
            self.found = True
            return file.with_name(images[0])
        return file


def _names_by_stem(tree: FileTree, folder: Path) -> tuple[set[str], dict[str, list[str]]]:
    """The names in ``folder``, and its images by their name without suffix."""
    try:
        names = sorted(tree.files(folder))
    except (InputError, ValueError):
        return set(), {}
    by_stem: dict[str, list[str]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix and is_image(folder / name, tree):
            by_stem.setdefault(stem, []).append(name)
    return set(names), by_stem
