"""The cache of decoded images: each is decoded and resized once for all runs that use the same size."""

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
from engine.data.decode import decode, map_in_threads, open_sample, read_file
from engine.data.image import VERSION, Pixels, prepare, why_unreadable
from engine.data.near_duplicates import Fingerprint
from engine.data.source import Source
from engine.errors import InputError
from engine.files.escapes import printable
from engine.runs.events import SkippedFile
from engine.runs.progress import Report
from engine.system import rank_env
from engine.warning_codes import Warn

_UNLIMITED = 2**63  # fingerprints take 296 bytes each and are all needed
_WAIT_POLL = 0.1  # seconds between checks on another run that decodes the same images


class ImageCache:
    """A run's decoded images in order, each uint8 (height, width, 3)."""

    def __init__(self, space: Space, keys: Keys, redecode: Callable[[int], Pixels]) -> None:
        """``redecode(index)`` replaces an image whose cache file was damaged during the run."""
        self._space = space
        self._keys = keys
        self._redecode = redecode

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Pixels:
        try:
            return self._space.read(self._keys[index : index + 1])[0]
        except KeyError:
            return self._redecode(index)


class ImageSpaces(NamedTuple):
    """The cache spaces of decoded images and their fingerprints, both by content key."""

    images: Space
    fingerprints: Space

    def __contains__(self, key: object) -> bool:
        """Whether both spaces hold ``key``."""
        return isinstance(key, bytes) and key in self.images and key in self.fingerprints


class DecodedSource(NamedTuple):
    """``readable``: positions in the source; ``keys``: their content keys; ``skipped``: the others, with reasons."""

    readable: list[int]
    keys: Keys
    skipped: list[SkippedFile]


def images_space(root: Path, shorter_side: int, interpolation: str, data: str, on_problem: Warn, memory: int) -> Space:
    """The space of all images decoded in this way; ``data`` names one of the datasets in it."""
    # Another version of Pillow may decode and round differently.
    identity = digest(f"{VERSION} {PIL.__version__} {shorter_side} {interpolation}".encode())
    about = {"data": data, "images": f"{shorter_side} px, {interpolation}"}
    return Space(root, "images", identity.hex(), about, on_problem, memory)


def fingerprints_space(root: Path, data: str) -> Space:
    """The space of fingerprints, shared by all image sizes."""
    identity = digest(f"fingerprints {near_duplicates.VERSION}".encode())
    about = {"data": data, "images": "fingerprints, to find copies"}
    # If it is unusable, so is the image space, which warns.
    return Space(root, "images", identity.hex(), about, lambda code, message: None, _UNLIMITED)


def fill_cache(
    source: Source, shorter_side: int, interpolation: str, spaces: ImageSpaces, files: FileDigests, report: Report
) -> DecodedSource:
    """Decodes the images of ``source`` that ``spaces`` lack. Waits if another process decodes the same dataset."""
    space = spaces.images
    total = len(source.samples)
    task = "\n".join(image.key for image in source.samples) + (str(source.file(0)) if source.file else "")
    already = len(space)
    while True:
        with space.filling(os.fsencode(task)) as owned:
            if owned:
                spaces.fingerprints.refresh()
                try:
                    return _decode_missing(source, shorter_side, interpolation, spaces, files, report)
                finally:
                    spaces.fingerprints.publish()
        time.sleep(_WAIT_POLL)
        space.refresh()
        report("data", min(len(space) - already, total - 1), total, "images")


def redecode(source: Source, index: int, key: bytes, shorter_side: int, interpolation: str) -> Pixels:
    """Decodes an image once more. Raises InputError if its file has changed."""
    try:
        found, image = open_sample(source, index, read_file)
        if found == key:
            return prepare(image, shorter_side, interpolation)
        reason = "the file has changed since the run began"
    except Exception as error:  # Pillow's plugins raise nearly anything for a damaged file
        reason = why_unreadable(error)
    raise InputError(
        f"{source.samples[index].key}: its cached pixels were damaged and it can't be decoded again ({reason}); "
        "start a new run"
    )


def _decode_missing(
    source: Source, shorter_side: int, interpolation: str, spaces: ImageSpaces, files: FileDigests, report: Report
) -> DecodedSource:
    total = len(source.samples)
    skipped: list[SkippedFile] = []

    def work(index: int) -> tuple[bytes, Pixels | None, Fingerprint | None] | str:
        try:
            key, image = open_sample(source, index, files.read)
            if key in spaces:
                return key, None, None
            pixels = decode(image, shorter_side, interpolation)
            return key, pixels, near_duplicates.fingerprint(pixels)
        except Exception as error:  # Pillow's plugins raise nearly anything for a damaged file
            return printable(why_unreadable(error))

    keys = _unchanged(source, spaces, files)
    missing = [index for index in range(total) if index not in keys]
    try:
        for done, (index, result) in enumerate(map_in_threads(work, missing), len(keys) + 1):
            if isinstance(result, str):
                skipped.append(SkippedFile(path=source.samples[index].key, reason=result))
            else:
                key, pixels, fingerprint = result
                keys[index] = key
                if pixels is not None and fingerprint is not None:
                    spaces.images.append(as_keys([key]), [pixels])
                    spaces.fingerprints.append(as_keys([key]), [fingerprint])
            report("data", done, total, "images")
    finally:
        files.save()
    if not missing:
        report("data", total, total, "images")
    readable = sorted(keys)
    return DecodedSource(readable, as_keys([keys[index] for index in readable]), skipped)


def _unchanged(source: Source, spaces: ImageSpaces, files: FileDigests) -> dict[int, bytes]:
    """Content keys of cached images whose files are unchanged and need not be read."""
    if source.file is None:
        return {}
    found = {index: files.look(source.file(index)) for index in range(len(source.samples))}
    return {index: key for index, key in found.items() if key is not None and key in spaces}


def memory_budget(cache_gb: float) -> int:
    """Bytes of memory for caches: ``cache_gb``, or a quarter of the free memory. Ranks on a machine share it."""
    whole = int(cache_gb * 2**30) if cache_gb else psutil.virtual_memory().available // 4
    return whole // rank_env.local_processes()
