"""The cache of decoded images: each is decoded and resized once for all runs that prepare it alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import PIL
import psutil

from engine.cache.feature_files import Keys
from engine.cache.file_digests import FileDigests, as_keys, digest
from engine.cache.space import CacheSpace
from engine.data import near_duplicates
from engine.data.decode import decode, map_in_threads, open_sample, read_file
from engine.data.image import VERSION, Pixels, is_deep, why_unreadable
from engine.data.image_facts import ImageFacts, facts_space, image_facts, known_facts, pack
from engine.data.near_duplicates import Fingerprint
from engine.data.source import Source
from engine.data.value_range import measure
from engine.errors import InputError
from engine.files.escapes import printable
from engine.models.preprocessing import Preprocessing, ValueRange
from engine.runs.dataset_summary import SkippedFile
from engine.runs.progress import Report
from engine.system import rank_env
from engine.warning_codes import Warn

_UNLIMITED = 2**63  # fingerprints take 296 bytes each and are all needed
_WAIT_POLL = 0.1  # seconds between checks on another run that decodes the same images


class ImageCache:
    """A run's decoded images in order, each uint8 (height, width, channels)."""

    def __init__(self, space: CacheSpace, keys: Keys, redecode: Callable[[int], Pixels]) -> None:
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
    """The cache spaces of decoded images, of their fingerprints, and of facts about image files.

    Facts have the content key. Images and fingerprints have the ``pixels_key``.
    """

    images: CacheSpace
    fingerprints: CacheSpace
    facts: CacheSpace

    def __contains__(self, key: object) -> bool:
        """Whether the image with this ``pixels_key`` and its fingerprint are cached."""
        return isinstance(key, bytes) and key in self.images and key in self.fingerprints


class DecodedSource(NamedTuple):
    """``readable``: positions in the source; ``keys``: their pixels' keys; ``skipped``: the others, with reasons.

    ``facts`` and ``contents``, the files' content keys, are parallel to ``readable``. ``value_range``: of the images
    of more than 8 bits.
    """

    readable: list[int]
    keys: Keys
    skipped: list[SkippedFile]
    facts: list[ImageFacts]
    contents: list[bytes]
    value_range: ValueRange | None


def open_spaces(root: Path, preprocessing: Preprocessing, data: str, on_problem: Warn, memory: int) -> ImageSpaces:
    """The spaces of all images decoded for ``preprocessing``; ``data`` names one of the datasets in them."""
    side, interpolation, channels = preprocessing.resize_size, preprocessing.interpolation, preprocessing.channels
    # RGB has no part in the key, so that caches of earlier versions stay valid.
    extra = "" if channels == 3 else f" {channels} channels"
    # Another version of Pillow may decode and round differently.
    identity = digest(f"{VERSION} {PIL.__version__} {side} {interpolation}{extra}".encode())
    about = {"data": data, "images": f"{side} px, {interpolation}{extra.replace(' ', ', ', 1)}"}
    images = CacheSpace(root, "images", identity.hex(), about, on_problem, memory)
    return ImageSpaces(images, _fingerprints_space(root, data, extra), facts_space(root, data))


def _fingerprints_space(root: Path, data: str, extra: str) -> CacheSpace:
    """The space of fingerprints, shared by all image sizes."""
    identity = digest(f"fingerprints {near_duplicates.VERSION}{extra}".encode())
    about = {"data": data, "images": "fingerprints, to find copies"}
    # If it is unusable, so is the image space, which warns.
    return CacheSpace(root, "images", identity.hex(), about, lambda code, message: None, _UNLIMITED)


def pixels_key(content: bytes, *, deep: bool, value_range: ValueRange | None) -> bytes:
    """The cache key of an image's pixels: the content key, and the value range where it changes them."""
    return digest(content, repr(value_range).encode()) if deep and value_range else content


def fill_cache(
    source: Source,
    preprocessing: Preprocessing,
    spaces: ImageSpaces,
    files: FileDigests,
    report: Report,
    *,
    measures: bool = False,
) -> DecodedSource:
    """Decodes the images of ``source`` that ``spaces`` lack. Waits if another process decodes the same dataset.

    ``measures``: where ``preprocessing`` has no value range, it is measured over all images of more than 8 bits.
    """
    space = spaces.images
    total = len(source.samples)
    task = "\n".join(image.key for image in source.samples) + (str(source.file(0)) if source.file else "")
    already = len(space)
    while True:
        with space.filling(os.fsencode(task)) as owned:
            if owned:
                spaces.fingerprints.refresh()
                spaces.facts.refresh()
                try:
                    return _Filling(source, preprocessing, spaces, files, report, measures).run()
                finally:
                    spaces.fingerprints.publish()
                    spaces.facts.publish()
                    files.save()
        time.sleep(_WAIT_POLL)
        space.refresh()
        report("data", min(len(space) - already, total - 1), total, "images")


def redecode(source: Source, index: int, key: bytes, preprocessing: Preprocessing) -> Pixels:
    """Decodes an image once more. Raises InputError if its file has changed."""
    try:
        content, image = open_sample(source, index, read_file)
        if pixels_key(content, deep=is_deep(image), value_range=preprocessing.value_range) == key:
            return decode(image, preprocessing)
        reason = "the file has changed since the run began"
    except Exception as error:  # Pillow's plugins raise nearly anything for a damaged file
        reason = why_unreadable(error)
    raise InputError(
        f"{source.samples[index].key}: its cached pixels were damaged and it can't be decoded again ({reason}); "
        "start a new run"
    )


@dataclass
class _Filling:
    """Decodes what the cache lacks of a source.

    Images of up to 8 bits are decoded as their files are read. The others wait until the value range of all is known.
    """

    source: Source
    preprocessing: Preprocessing
    spaces: ImageSpaces
    files: FileDigests
    report: Report
    measures: bool
    contents: dict[int, bytes] = field(default_factory=dict)
    facts: dict[int, ImageFacts] = field(default_factory=dict)
    skipped: dict[int, SkippedFile] = field(default_factory=dict)

    def run(self) -> DecodedSource:
        """Fills the cache."""
        total = len(self.source.samples)
        known_facts(self.source, self.files, self.spaces.facts, self.contents, self.facts)
        missing = [index for index in range(total) if index not in self.facts or self._lacks_shallow(index)]
        self._decode_all(missing, self._read_and_decode)
        if not missing:
            self.report("data", total, total, "images")
        deep = [index for index, facts in self.facts.items() if facts.is_deep]
        value_range = self.preprocessing.value_range
        if value_range is None and self.measures:
            value_range = measure([found for index in deep if (found := self.facts[index].quantiles) is not None])
            self.preprocessing = replace(self.preprocessing, value_range=value_range)
        self._decode_all([index for index in sorted(deep) if self._key(index) not in self.spaces], self._decode_deep)
        readable = sorted(self.facts)
        return DecodedSource(
            readable,
            as_keys([self._key(index) for index in readable]),
            [self.skipped[index] for index in sorted(self.skipped)],
            [self.facts[index] for index in readable],
            [self.contents[index] for index in readable],
            value_range,
        )

    def _decode_all(self, indices: list[int], work: Callable[[int], _Decoded | str]) -> None:
        before, total = len(self.source.samples) - len(indices), len(self.source.samples)
        for done, (index, result) in enumerate(map_in_threads(work, indices), before + 1):
            if isinstance(result, str):
                self._skip(index, result)
            else:
                self._keep(index, result)
            self.report("data", done, total, "images")

    def _read_and_decode(self, index: int) -> _Decoded | str:
        try:
            content, image = open_sample(self.source, index, self.files.read)
            facts = image_facts(image)
            if facts.is_deep or content in self.spaces:
                return _Decoded(content, facts)
            pixels = decode(image, self.preprocessing)
            return _Decoded(content, facts, pixels, near_duplicates.fingerprint(pixels))
        except Exception as error:  # Pillow's plugins raise nearly anything for a damaged file
            return printable(why_unreadable(error))

    def _decode_deep(self, index: int) -> _Decoded | str:
        try:
            content, image = open_sample(self.source, index, self.files.read)
            if content != self.contents[index]:
                return "the file has changed while it was read"
            pixels = decode(image, self.preprocessing)
            return _Decoded(content, self.facts[index], pixels, near_duplicates.fingerprint(pixels))
        except Exception as error:  # as above
            return printable(why_unreadable(error))

    def _keep(self, index: int, decoded: _Decoded) -> None:
        self.contents[index], self.facts[index] = decoded.content, decoded.facts
        self.spaces.facts.append(as_keys([decoded.content]), [pack(decoded.facts)])
        if decoded.pixels is not None and decoded.fingerprint is not None:
            key = as_keys([self._key(index)])
            self.spaces.images.append(key, [decoded.pixels])
            self.spaces.fingerprints.append(key, [decoded.fingerprint])

    def _skip(self, index: int, reason: str) -> None:
        self.skipped[index] = SkippedFile(path=self.source.samples[index].key, reason=reason)
        self.facts.pop(index, None)

    def _lacks_shallow(self, index: int) -> bool:
        return not self.facts[index].is_deep and self.contents[index] not in self.spaces

    def _key(self, index: int) -> bytes:
        deep, value_range = self.facts[index].is_deep, self.preprocessing.value_range
        return pixels_key(self.contents[index], deep=deep, value_range=value_range)


class _Decoded(NamedTuple):
    content: bytes
    facts: ImageFacts
    pixels: Pixels | None = None
    fingerprint: Fingerprint | None = None


def memory_budget(cache_gb: float) -> int:
    """Bytes of memory for caches: ``cache_gb``, or a quarter of the free memory. Ranks on a machine share it."""
    whole = int(cache_gb * 2**30) if cache_gb else psutil.virtual_memory().available // 4
    return whole // rank_env.local_processes()
