"""Bad and odd image files, each by its name: what to write at a path."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Write = Callable[[Path], object]
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def content(data: bytes) -> Write:
    return lambda path: path.write_bytes(data)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int) -> bytes:
    """A valid grey image of any size that takes few bytes."""
    compressor, rows = zlib.compressobj(9), b"\0" * (width + 1)
    data = b"".join(compressor.compress(rows) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def with_icc(profile: bytes) -> bytes:
    return encoded(PHOTO, "PNG", icc_profile=profile)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def local_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(here)


def secret(path: Path) -> None:
    path.write_bytes(JPEG)
    path.chmod(0)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


def sideways() -> bytes:
    data = Image.Exif()
    data[0x0112] = 6
    return encoded(PHOTO, "JPEG", exif=data)


def with_damaged_exif() -> bytes:
    before, mark, after = sideways().partition(b"Exif\0\0")
    return before + mark + b"\xff" * 12 + after[12:]


JPEG, PNG = encoded(PHOTO, "JPEG"), encoded(PHOTO, "PNG")
DEEP = np.linspace(0, 65535, 4800).reshape(60, 80)
PALETTE = PHOTO.quantize(16)

FILES: dict[str, tuple[str, Write]] = {
    "empty file": ("empty.jpg", content(b"")),
    "text called .jpg": ("notes.jpg", content(b"these are my notes\n" * 9)),
    "HTML error page called .png": ("page.png", content(b"<!DOCTYPE html><title>404</title>")),
    "truncated JPEG": ("cut.jpg", content(JPEG[: len(JPEG) // 2])),
    "truncated PNG": ("cut.png", content(PNG[: len(PNG) // 2])),
    "JPEG that ends in its header": ("head.jpg", content(JPEG[:20])),
    "PNG with a wrong checksum": ("crc.png", content(PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:])),
    "PNG with a damaged colour profile": ("icc.png", content(with_icc(b"no profile at all"))),
    "JPEG with garbage behind it": ("tail.jpg", content(JPEG + os.urandom(5000))),
    "PNG called .jpg": ("misnamed.jpg", content(PNG)),
    "JPEG without a suffix of its own, called .bmp": ("misnamed.bmp", content(JPEG)),
    "icon called .png": ("icon.png", content(encoded(PHOTO.resize((32, 32)), "ICO"))),
    "PostScript called .jpg, which others would run": (
        "program.jpg",
        content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch /tmp/exploded) (w) file\n"),
    ),
    "SVG called .png": ("drawing.png", content(b'<svg xmlns="http://www.w3.org/2000/svg"/>')),
    "decompression bomb of 30,000 × 30,000 pixels": ("bomb.png", content(png_of(30_000, 30_000))),
    "large and sound: 9,000 × 9,000 pixels": ("large.png", content(png_of(9_000, 9_000))),
    "sparse file of 1 TiB": ("sparse.jpg", sparse),
    "animated GIF": (
        "film.gif",
        content(encoded(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(90)] * 3)),
    ),
    "animated WebP": ("film.webp", content(encoded(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(90)]))),
    "16-bit grey PNG": ("deep.png", content(encoded(Image.fromarray(DEEP.astype(np.uint16)), "PNG"))),
    "32-bit float TIFF": ("float.tif", content(encoded(Image.fromarray((DEEP / 65535).astype(np.float32)), "TIFF"))),
    "float TIFF of NaN and infinity": (
        "nan.tif",
        content(encoded(Image.fromarray(np.where(DEEP > 30000, np.nan, np.inf).astype(np.float32)), "TIFF")),
    ),
    "CMYK JPEG": ("print.jpg", content(encoded(PHOTO.convert("CMYK"), "JPEG"))),
    "progressive JPEG": ("progressive.jpg", content(encoded(PHOTO, "JPEG", progressive=True))),
    "JPEG of several frames (MPO)": (
        "stereo.jpg",
        content(encoded(PHOTO, "MPO", save_all=True, append_images=[PHOTO])),
    ),
    "bilevel": ("fax.tif", content(encoded(PHOTO.convert("1"), "TIFF", compression="group4"))),
    "palette with transparency": ("logo.png", content(encoded(PALETTE, "PNG", transparency=0))),
    "photo taken sideways": ("side.jpg", content(sideways())),
    "damaged EXIF data": ("exif.jpg", content(with_damaged_exif())),
    "1 × 1 pixel": ("dot.png", content(encoded(PHOTO.resize((1, 1)), "PNG"))),
    "1 × 5,000 pixels": ("line.png", content(encoded(PHOTO.resize((1, 5000)), "PNG"))),
    "60,000 × 1 pixels": ("wide.png", content(png_of(60_000, 1))),
    "no pixels: 0 × 10": ("nothing.png", content(png_of(0, 10))),
    "pipe": ("pipe.jpg", pipe),
    "socket": ("socket.jpg", local_socket),
    "folder": ("folder.jpg", lambda path: path.mkdir()),
    "device": ("device.jpg", lambda path: path.symlink_to("/dev/zero")),
    "link that leads nowhere": ("gone.jpg", lambda path: path.symlink_to(path.parent / "nowhere")),
    "link to itself": ("loop.jpg", lambda path: path.symlink_to(path)),
    "file that nobody may read": ("secret.jpg", secret),
    "name of 255 bytes": ("n" * 251 + ".jpg", content(JPEG)),
    "name with spaces, a newline and an escape sequence": ("a b\n\x1b[2J.jpg", content(JPEG[:99])),
    "name in [markup]": ("[bold red]x.jpg", content(JPEG[:99])),
    "name that is no UTF-8": (os.fsdecode(b"caf\xe9\x9b.jpg"), content(JPEG[:99])),
    "name that reorders text": ("a\u202egpj.exe.jpg", content(JPEG[:99])),
    "name that is a formula": ('=HYPERLINK("x").jpg', content(JPEG)),
    "name that a shell would obey": ("$(touch x);`y`.jpg", content(JPEG)),
}
