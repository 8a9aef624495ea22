"""Prepared images: each is decoded and resized once, for all runs that want it at the same size."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import PIL
import psutil

from engine.cache.feature_files import Keys
from engine.cache.file_digests import FileDigests, as_keys, digest
from engine.cache.space import Space
from engine.data import near_duplicates
from engine.data.decode import decode, in_threads, open_one, read_file
from engine.data.image import VERSION, Pixels, prepare, why_unreadable
from engine.data.near_duplicates import Fingerprint
from engine.data.source import Source
from engine.errors import InputError
from engine.files.escapes import printable
from engine.runs.events import SkippedFile
from engine.runs.progress import Report
from engine.system import rank_env
from engine.warning_codes import Warn

_ALL = 2**63  # fingerprints take a hundred bytes each and are all needed: memory is no question
_WAIT_POLL = 0.1  # seconds between looks at another run that prepares the same images


class ImageCache:
    """The images of a run in their order, as uint8 (height, width, 3)."""

    def __init__(self, space: Space, keys: Keys, again: Callable[[int], Pixels]) -> None:
        """``again(index)`` makes an image anew, for when someone damages the cache's files underneath a run."""
        self._space = space
        self._keys = keys
        self._again = again

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Pixels:
        try:
            return self._space.read(self._keys[index : index + 1])[0]
        except KeyError:
            return self._again(index)


class Spaces(NamedTuple):
    """Where prepared images and what they are recognised by are kept, both by the key of the content."""

    images: Space
    fingerprints: Space

    def __contains__(self, key: object) -> bool:
        """Whether both are there for a key."""
        return isinstance(key, bytes) and key in self.images and key in self.fingerprints


class Prepared(NamedTuple):
    """``readable``: positions in the source; ``keys``: the content key of each; ``skipped``: the others, with why."""

    readable: list[int]
    keys: Keys
    skipped: list[SkippedFile]


def images_space(root: Path, shorter_side: int, interpolation: str, data: str, on_problem: Warn, memory: int) -> Space:
    """The space of all images that are prepared in this way; ``data`` names one of the data sets in it."""
    # Another Pillow may bring another decoder and round otherwise.
    identity = digest(f"{VERSION} {PIL.__version__} {shorter_side} {interpolation}".encode())
    about = {"data": data, "images": f"{shorter_side} px, {interpolation}"}
    return Space(root, "images", identity.hex(), about, on_problem, memory)


def fingerprints_space(root: Path, data: str) -> Space:
    """The space of what images are recognised by, whatever size they are prepared in."""
    identity = digest(f"fingerprints {near_duplicates.VERSION}".encode())
    about = {"data": data, "images": "fingerprints, to find copies"}
    # Where it can't be used, neither can the space of the images themselves, which says so.
    return Space(root, "images", identity.hex(), about, lambda code, message: None, _ALL)


def decode_all(
    source: Source, shorter_side: int, interpolation: str, spaces: Spaces, files: FileDigests, report: Report
) -> Prepared:
    """See that ``spaces`` have every image of ``source`` that can be read; decode those that are missing.

    Where another process is at the same work, wait for it.
    """
    space = spaces.images
    total = len(source.images)
    work = "\n".join(image.key for image in source.images) + (str(source.file(0)) if source.file else "")
    already = len(space)
    while True:
        with space.filling(os.fsencode(work)) as mine:
            if mine:
                spaces.fingerprints.refresh()
                try:
                    return _decode_missing(source, shorter_side, interpolation, spaces, files, report)
                finally:
                    spaces.fingerprints.publish()
        time.sleep(_WAIT_POLL)
        space.refresh()
        report("data", min(len(space) - already, total - 1), total, "images")


def decode_again(source: Source, index: int, key: bytes, shorter_side: int, interpolation: str) -> Pixels:
    """An image that was decoded before. Raises InputError where its file is no more what it was."""
    try:
        found, image = open_one(source, index, read_file)
        if found == key:
            return prepare(image, shorter_side, interpolation)
        reason = "the file has changed since the run began"
    except Exception as error:  # as below
        reason = why_unreadable(error)
    raise InputError(
        f"{source.images[index].key}: its pixels in the cache were damaged and it can't be decoded again ({reason}); "
        "start the run anew"
    )


def _decode_missing(
    source: Source, shorter_side: int, interpolation: str, spaces: Spaces, files: FileDigests, report: Report
) -> Prepared:
    total = len(source.images)
    skipped: list[SkippedFile] = []

    def work(index: int) -> tuple[bytes, Pixels | None, Fingerprint | None] | str:
        try:
            key, image = open_one(source, index, files.read)
            if key in spaces:
                return key, None, None
            pixels = decode(image, shorter_side, interpolation)
            return key, pixels, near_duplicates.fingerprint(pixels)
        except Exception as error:  # PIL's plugins raise nearly anything for a damaged file
            return printable(why_unreadable(error))

    keys = _unchanged(source, spaces, files)
    missing = [index for index in range(total) if index not in keys]
    try:
        for done, (index, result) in enumerate(in_threads(work, missing), len(keys) + 1):
            if isinstance(result, str):
                skipped.append(SkippedFile(path=source.images[index].key, reason=result))
            else:
                key, pixels, recognised_by = result
                keys[index] = key
                if pixels is not None and recognised_by is not None:
                    spaces.images.append(as_keys([key]), [pixels])
                    spaces.fingerprints.append(as_keys([key]), [recognised_by])
            report("data", done, total, "images")
    finally:
        files.save()
    if not missing:
        report("data", total, total, "images")
    readable = sorted(keys)
    return Prepared(readable, as_keys([keys[index] for index in readable]), skipped)


def _unchanged(source: Source, spaces: Spaces, files: FileDigests) -> dict[int, bytes]:
    """Keys of the images that are in ``spaces`` already and whose files need not be read to know that."""
    if source.file is None:
        return {}
    found = {index: files.look(source.file(index)) for index in range(len(source.images))}
    return {index: key for index, key in found.items() if key is not None and key in spaces}


def memory_budget(cache_gb: float) -> int:
    """Bytes for caches: what the config says, or a quarter of the memory that is free now.

    Processes that train a run together take equal parts.
    """
    whole = int(cache_gb * 2**30) if cache_gb else psutil.virtual_memory().available // 4
    return whole // rank_env.local_processes()
