"""Images from a file to a batch: decoded as they look, once for all runs, and augmented."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from engine.cache.file_digests import FileDigests, as_keys, digest
from engine.cache.folder import CACHE
from engine.config.schema import DataConfig, RunConfig
from engine.data.augmented_views import Views
from engine.data.image import Pixels, centre_crop, prepare, to_rgb
from engine.data.image_cache import ImageCache, ImageSpaces, fill_cache, open_spaces
from engine.data.loaders import ImageDataset, image_loader
from engine.data.sources import open_source
from engine.errors import InputError
from engine.runs.event_log import EventTail
from engine.runs.events import Warning
from engine.runs.progress import quiet
from tests.conftest import Engine, make_images
from tests.engine.prepared_data import PREPROCESSING, no_problem, prepared

ORANGE = (230, 120, 20)


def spaces_in(root: Path, side: int = 36, interpolation: str = "bilinear") -> ImageSpaces:
    preprocessing = replace(PREPROCESSING, resize_size=side, interpolation=interpolation)
    return open_spaces(root, preprocessing, "images", no_problem, 2**30)


def no_again(index: int) -> Pixels:
    raise AssertionError(f"image {index} should be in the cache")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV", "LAB", "L", "LA", "1", "I;16", "I", "F"])
def test_an_image_of_any_mode_comes_out_as_the_rgb_that_it_shows(mode: str, tmp_path: Path):
    colour = Image.new("RGB", (20, 20), ORANGE)
    grey = colour.convert("L").getpixel((0, 0))
    expected = np.array(ORANGE if mode in ("RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV", "LAB") else (grey,) * 3)
    match mode:
        case "I;16":
            image = Image.fromarray(np.full((20, 20), grey * 257, dtype=np.uint16))
        case "I":
            image = Image.fromarray(np.full((20, 20), grey, dtype=np.int32))
        case "F":
            image = Image.fromarray(np.full((20, 20), grey / 255, dtype=np.float32))
        case "1":
            image, expected = Image.new("1", (20, 20), 1), np.array([255] * 3)
        case "LAB":
            from PIL import ImageCms

            profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
            image = ImageCms.profileToProfile(colour, *profiles, outputMode="LAB")
            assert image is not None
        case _:
            image = colour.convert(mode)
    pixels = prepare(image, 10, "bilinear")
    assert pixels.shape == (10, 10, 3)
    assert np.abs(pixels.astype(int) - expected).max() <= (12 if mode == "P" else 8)  # a palette is dithered


def test_a_sixteen_bit_png_keeps_its_greys(tmp_path: Path):
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16)[None, :].repeat(64, 0)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as image:
        row = np.asarray(to_rgb(image))[0]
    assert row[0] == 0
    assert row[-1] == 255
    assert np.all(np.diff(row.astype(int)) >= 3)


def test_transparency_shows_white_and_not_what_lies_hidden_below():
    clear = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    assert np.all(np.asarray(to_rgb(clear)) == 255)
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30] * 256)
    palette.info["transparency"] = 0
    assert np.all(np.asarray(to_rgb(palette)) == 255)


def test_a_photo_taken_sideways_stands_upright(tmp_path: Path):
    image = Image.new("RGB", (40, 20), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 20, 20))  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: white comes to the top
    image.save(tmp_path / "side.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "side.jpg") as stored:
        pixels = prepare(stored, 20, "bilinear")
    assert pixels.shape == (40, 20, 3)
    assert pixels[:15].mean() > 240
    assert pixels[25:].mean() < 15


def test_the_shorter_side_is_resized_and_panoramas_are_cut():
    assert prepare(Image.new("RGB", (300, 200)), 50, "bicubic").shape == (50, 75, 3)
    assert prepare(Image.new("RGB", (30, 3000)), 50, "bilinear").shape == (100, 50, 3)
    assert centre_crop(np.zeros((100, 51, 3), np.uint8), 50).shape == (50, 50, 3)


@pytest.fixture
def store(images: Path, cache: Path) -> ImageCache:
    spaces = spaces_in(cache)
    source = open_source(DataConfig(path=str(images)))
    keys = fill_cache(source, PREPROCESSING, spaces, FileDigests(cache), quiet).keys
    return ImageCache(spaces.images, keys, no_again)


def prepared_again(root: Path, cache: Path) -> tuple[ImageCache, list[int]]:
    """The images below ``root`` as a new process would have them, and what was reported done."""
    done: list[int] = []
    spaces = spaces_in(cache)
    source = open_source(DataConfig(path=str(root)))
    found = fill_cache(source, PREPROCESSING, spaces, FileDigests(cache), lambda *report: done.append(report[1]))
    assert found.skipped == []
    return ImageCache(spaces.images, found.keys, no_again), done


@pytest.fixture
def nothing_can_be_decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("nothing can be decoded")

    return lambda: monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)


def test_the_same_images_are_decoded_once_wherever_they_lie(tmp_path: Path, nothing_can_be_decoded: Callable[[], None]):
    first, done = prepared_again(make_images(tmp_path / "here", 5), tmp_path / "cache")
    assert done == list(range(1, 16))
    make_images(tmp_path / "there", 5)
    nothing_can_be_decoded()
    second, _ = prepared_again(tmp_path / "there", tmp_path / "cache")
    assert len(second) == 15
    assert all(np.array_equal(first[i], second[i]) for i in range(15))


def test_an_image_that_changed_is_decoded_anew(tmp_path: Path):
    root = make_images(tmp_path / "here", 5)
    prepared_again(root, tmp_path / "cache")
    before = (root / "red" / "00.png").stat()
    Image.new("RGB", (40, 40), ORANGE).save(root / "red" / "00.png")
    os.utime(root / "red" / "00.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    store, _ = prepared_again(root, tmp_path / "cache")
    assert np.all(store[10] == ORANGE)


OPENED: list[str] = []


def test_a_second_run_over_unchanged_files_opens_none_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = make_images(tmp_path / "here", 5)
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)  # files of a moment ago are not trusted
    sys.addaudithook(lambda event, details: OPENED.append(str(details[0])) if event == "open" else None)
    first, _ = prepared_again(root, tmp_path / "cache")
    assert sum(path.startswith(str(root)) for path in OPENED) == 15
    OPENED.clear()
    second, done = prepared_again(root, tmp_path / "cache")
    assert not any(path.startswith(str(root)) for path in OPENED)
    assert done == [15]
    assert all(np.array_equal(first[i], second[i]) for i in range(15))


def test_images_without_files_are_found_by_their_pixels(tmp_path: Path):
    source = open_source(DataConfig(source="digits"))
    few = replace(source, samples=source.samples[:20])
    spaces = spaces_in(tmp_path)
    first = fill_cache(few, PREPROCESSING, spaces, FileDigests(tmp_path), quiet)
    assert len(set(first.keys.tolist())) == 20
    rows = len(spaces.images)
    again = fill_cache(few, PREPROCESSING, spaces, FileDigests(tmp_path), quiet)
    assert again.keys.tolist() == first.keys.tolist()
    assert len(spaces.images) == rows


def test_images_of_another_size_or_interpolation_are_others(tmp_path: Path):
    spaces = [
        spaces_in(tmp_path, side, interpolation).images
        for side in (36, 40)
        for interpolation in ("bilinear", "bicubic")
    ]
    key = as_keys([digest(b"image")])
    spaces[0].append(key, [np.zeros((36, 36, 3), np.uint8)])
    spaces[0].publish()
    for space in spaces:
        space.refresh()
    assert [bool(space.present(key)[0]) for space in spaces] == [True, False, False, False]


def test_two_runs_on_the_same_images_decode_them_once(tmp_path: Path):
    """The second waits for the first, which here stops half-way; then it decodes what is missing."""
    root = make_images(tmp_path / "here", 20)
    processes = multiprocessing.get_context("fork")
    told, tell = processes.Pipe(duplex=False)

    def slow() -> None:
        def report(_activity: str, done: int, _total: int, _unit: str) -> None:
            if done == 30:
                spaces.images.publish()
                tell.send(len(spaces.images))
                threading.Event().wait()

        spaces = spaces_in(tmp_path / "cache")
        source = open_source(DataConfig(path=str(root)))
        fill_cache(source, PREPROCESSING, spaces, FileDigests(tmp_path / "cache"), report)

    first = processes.Process(target=slow)
    first.start()
    assert told.recv() == 30
    seen: list[int] = []

    def report(_activity: str, done: int, _total: int, _unit: str) -> None:
        seen.append(done)
        if len(seen) == 3:
            first.kill()

    spaces = spaces_in(tmp_path / "cache")
    source = open_source(DataConfig(path=str(root)))
    found = fill_cache(source, PREPROCESSING, spaces, FileDigests(tmp_path / "cache"), report)
    first.join()
    assert len(found.readable) == 60
    assert seen[:3] == [0, 0, 0]
    assert len(spaces.images) == 60


def test_a_run_without_a_usable_cache_warns_and_continues(
    tmp_path: Path, engine: Engine, config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "cache").write_text("a file in its place")
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    folder, state, status = engine.run(config(train={"epochs": 1}))
    assert (status, len(state.epochs)) == (0, 1)
    warnings = [event for event in EventTail(folder).poll() if isinstance(event, Warning)]
    about_cache = [warning.message for warning in warnings if warning.code == "cache_unusable"]
    folders = [f"{tmp_path}/cache/images/", f"{tmp_path}/cache/features/"]
    for message, below in zip(about_cache, folders, strict=True):
        assert message.startswith(below)
        assert "TLTUI_CACHE" in message


def test_a_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same(tmp_path: Path):
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 255, (30, 45, 3), np.uint8))
    small.resize((1500, 1000), Image.Resampling.BICUBIC).save(tmp_path / "large.jpg", quality=92)
    with Image.open(tmp_path / "large.jpg") as image:
        whole = np.asarray(image.resize((150, 100), Image.Resampling.BICUBIC)).astype(int)
    with Image.open(tmp_path / "large.jpg") as image:
        pixels = prepare(image, 100, "bicubic")
        assert image.size == (375, 250)
    assert pixels.shape == (100, 150, 3)
    assert np.abs(pixels - whole).mean() < 1
    assert np.abs(pixels - whole).max() < 12


KEYS = [digest(bytes([number])) for number in range(48)]


def images_shown(store: ImageCache, augment: str, epoch: int, seed: int, workers: int) -> torch.Tensor:
    views = Views.of(augment, 0, seed)
    shown = [views.in_epoch(epoch, at, KEYS[at], cached=False) for at in range(48)]
    batches = [shown[at : at + 10] for at in range(0, 48, 10)]
    return torch.cat(list(image_loader(ImageDataset(store, KEYS, 32, views), batches, workers)))


@pytest.mark.parametrize("augment", ["flip", "standard", "trivial"])
def test_augmentation_depends_on_seed_and_epoch_and_not_on_the_workers(augment: str, store: ImageCache):
    first = images_shown(store, augment, 1, 7, 0)
    assert first.shape == (48, 3, 32, 32)
    assert first.dtype == torch.uint8
    torch.rand(5)  # whatever else draws numbers
    assert torch.equal(first, images_shown(store, augment, 1, 7, 2))
    assert not torch.equal(first, images_shown(store, augment, 2, 7, 0))
    assert not torch.equal(first, images_shown(store, augment, 1, 8, 0))


def test_without_augmentation_every_epoch_sees_the_centres(store: ImageCache):
    shown = images_shown(store, "none", 3, 0, 0)
    assert np.array_equal(shown[17].permute(1, 2, 0).numpy(), centre_crop(store[17], 32))


def test_flipped_images_are_the_mirror_images_of_the_others(store: ImageCache):
    centres = images_shown(store, "none", 1, 0, 0)
    shown = images_shown(store, "flip", 1, 0, 0)
    mirrored = [at for at in range(48) if not torch.equal(shown[at], centres[at])]
    assert 10 < len(mirrored) < 38
    assert torch.equal(shown[mirrored], centres[mirrored].flip(-1))


def test_an_image_whose_cached_row_was_damaged_is_decoded_again(tmp_path: Path, config: Callable[..., RunConfig]):
    root = make_images(tmp_path / "data", 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(tmp_path / "cache"))
        data, *_ = prepared(config(data={"path": str(root)}), tmp_path)
        whole = [data.image_cache[index] for index in range(len(data.image_cache))]
        told: list[str] = []
        again, *_ = prepared(config(data={"path": str(root)}), tmp_path, lambda code, _text: told.append(code))
        for rows in (tmp_path / "cache" / "images").glob("*/*.bin"):
            os.truncate(rows, 100)
    assert all(np.array_equal(again.image_cache[index], pixels) for index, pixels in enumerate(whole))
    assert told == ["cache_unusable"]
    path = root / again.samples[0].key
    path.write_bytes((root / again.samples[1].key).read_bytes())
    with pytest.raises(InputError, match=r"can't be decoded again \(the file has changed since the run began\)"):
        again.image_cache[0]


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000), (60_000, 2)])
def test_extremely_long_images_take_little_memory(size: tuple[int, int]):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert max(prepare(Image.new("RGB", size), 256, "bicubic").shape) == 512
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
