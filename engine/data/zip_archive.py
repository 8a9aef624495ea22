"""Lists and reads the members of a zip archive. Imports neither torch nor Pillow: the app uses it."""

from __future__ import annotations

import bz2
import errno
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.data.archive_tree import ArchiveTree
from engine.errors import InputError, first_line
from engine.files.archive_file import ArchiveFile, stamp_of_member
from engine.files.stored_file import FileContent, Stamp, StoredFile, refuse_larger

_HEADER = struct.Struct("<4s22xHH")  # of a member, in the archive: signature, lengths of name and extra field
_ENCRYPTED = 0x1
_PREFIX = 4096  # packed bytes that are enough for an image's signature
_BZIP2_BLOCK = 2**20  # bytes; a block is unpacked as a whole
# An image packs at most a few hundredfold. A larger member that packs better is a zip bomb.
_MOST_RATIO = 200
_HARMLESS = 64 * 2**20  # bytes
_DAMAGED = "its data are damaged"


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A member by its entry in the archive's directory. ``header``: the position of its local header."""

    archive: ArchiveFile
    header: int
    packed: int
    size: int
    crc: int
    method: int

    def stamp(self) -> Stamp:
        return stamp_of_member(self.archive.stamp(), b"%d %d %d" % (self.header, self.size, self.crc))

    def read(self, most: int) -> FileContent:
        refuse_larger(self.size, most, str(self.archive.path))
        if self.size > max(_HARMLESS, _MOST_RATIO * self.packed):
            ratio = self.size // max(self.packed, 1)
            raise OSError(errno.EFBIG, f"it unpacks to {ratio:,} times its size, as in a zip bomb")
        before = self.stamp()
        content = self._unpacked(self.packed, self.size)
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise OSError(errno.EIO, _DAMAGED)
        return FileContent(content, before if before == self.stamp() else None)

    def first_bytes(self, count: int) -> bytes:
        prefix = _BZIP2_BLOCK if self.method == zipfile.ZIP_BZIP2 else _PREFIX
        return self._unpacked(min(self.packed, prefix), min(count, self.size))

    def _unpacked(self, packed: int, most: int) -> bytes:
        """Up to ``most`` bytes of content from the first ``packed`` bytes of the member's data."""
        header = self.archive.read_at(self.header, _HEADER.size)
        if len(header) < _HEADER.size or header[:4] != b"PK\3\4":
            raise OSError(errno.EIO, _DAMAGED)
        _, name, extra = _HEADER.unpack(header)
        content = self.archive.read_at(self.header + _HEADER.size + name + extra, packed)
        try:
            match self.method:
                case zipfile.ZIP_STORED:
                    return content[:most]
                case zipfile.ZIP_DEFLATED:
                    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, most) if most else b""
                case zipfile.ZIP_BZIP2:
                    return bz2.BZ2Decompressor().decompress(content, most)
        except (zlib.error, OSError, EOFError):
            raise OSError(errno.EIO, _DAMAGED) from None
        raise OSError(errno.ENOTSUP, f"it is packed by {_method_name(self.method)}, which can't be read")


_READABLE = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2})


def open_zip(path: Path) -> ArchiveTree:
    """The members of a zip archive. Raises InputError, also for an encrypted one."""
    try:
        archive = ArchiveFile(path)
        with zipfile.ZipFile(archive.stream) as directory:
            entries = directory.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        raise InputError(
            f"{path}: can't be read as a zip archive ({first_line(error)}); copy or pack it again"
        ) from None
    if any(entry.flag_bits & _ENCRYPTED for entry in entries):
        raise InputError(f"{path}: the archive is encrypted; unzip it with its password, and use the folder")
    unreadable = [entry for entry in entries if entry.compress_type not in _READABLE]
    if len(unreadable) > len(entries) // 2:
        method = _method_name(unreadable[0].compress_type)
        raise InputError(f"{path}: is packed by {method}, which can't be read in place; unzip it, and use the folder")
    return ArchiveTree(path, _members(archive, entries))


def _members(archive: ArchiveFile, entries: list[zipfile.ZipInfo]) -> Iterator[tuple[str, StoredFile | None]]:
    for entry in entries:
        name = entry.filename
        if "\\" in name and "/" not in name:  # some programs on Windows write them
            name = name.replace("\\", "/")
        mode = entry.external_attr >> 16
        if stat.S_ISLNK(mode):
            continue
        member = ZipMember(
            archive, entry.header_offset, entry.compress_size, entry.file_size, entry.CRC, entry.compress_type
        )
        yield name, None if name.endswith("/") else member


def _method_name(method: int) -> str:
    return {9: "deflate64", 14: "lzma", 93: "zstd", 95: "xz"}.get(method, f"method {method}")
