"""Images of more than 8 bits: one value range for the dataset, kept by the run."""

from __future__ import annotations

import csv
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from engine.compute.precision import Precision
from engine.config.schema import DataConfig, HeadConfig
from engine.config.toml_io import from_tables
from engine.data.image import prepare
from engine.data.scan import scan
from engine.data.value_range import grey_levels, measure, quantiles
from engine.errors import InputError
from engine.evaluation.load_run import load_trained_run
from engine.evaluation.re_evaluate import re_evaluate
from engine.export.export import export
from engine.export.formats import open_export
from engine.export.predict import Prediction, find_images, predict
from engine.export.predictor import open_run
from engine.models import registry
from engine.models.preprocessing import Preprocessing
from engine.models.weight_shapes import adapt_input_channels
from engine.process.image_protocol import ImageRequest
from engine.process.image_server import ImageServer
from engine.process.session_setup import set_up_session
from engine.runs.event_log import EventLog, EventTail
from engine.runs.folder import RunFolder, create
from engine.runs.progress import quiet
from engine.runs.replay import ReplayedLog
from engine.training.control import Control
from engine.training.run_context import RunContext
from tests.conftest import TINY, Engine, Sessions
from tests.engine.prepared_data import prepared

Values = npt.NDArray[np.floating[Any]]
KINDS: dict[str, tuple[str, Callable[[Values], npt.NDArray[Any]]]] = {
    "12 bits": ("png", lambda values: values.astype(np.uint16)),
    "16 bits": ("png", lambda values: (16 * values).astype(np.uint16)),
    "Hounsfield units": ("tif", lambda values: (values - 1024).astype(np.int32)),
    "floats": ("tif", lambda values: (values / 4096).astype(np.float32)),
}


def deep_images(root: Path, kind: str, count: int = 8) -> Path:
    """Grey images of two classes with values from 700 to 900, as a 12-bit camera writes them, in one of ``KINDS``."""
    suffix, convert = KINDS[kind]
    random = np.random.default_rng(0)
    for name, bright in (("dark", 0), ("light", 100)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            values = 700.0 + bright + random.integers(0, 100, (40, 40))
            Image.fromarray(convert(values)).save(root / name / f"{number}.{suffix}")
    return root


def tables(root: Path, **data: object) -> dict[str, Any]:
    return {
        "data": {"path": str(root), "image_size": 32, "val_fraction": 0.25, "test_fraction": 0.25, **data},
        "model": dict(TINY),
        "train": {"epochs": 1, "batch_size": 8, "device": "cpu", "precision": "fp32"},
    }


def ignore(code: str, message: str) -> None:
    """Warnings do not matter here."""


def test_the_same_contents_are_the_same_pixels_however_many_bits_store_them(tmp_path: Path):
    pixels = []
    for kind in KINDS:
        data, ready, _ = prepared(from_tables(tables(deep_images(tmp_path / kind, kind))), tmp_path / "runs", ignore)
        assert ready.scan is not None
        assert ready.scan.deep == 16
        assert (ready.scan.grey_levels or 0) > 100
        pixels.append(np.stack([data.image_cache[at] for at in range(len(data.samples))]))
    assert pixels[0].min() < 30
    assert pixels[0].max() > 225
    for others in pixels[1:]:
        assert np.abs(others.astype(int) - pixels[0]).max() <= 1


def test_hot_pixels_do_not_compress_the_others():
    random = np.random.default_rng(0)
    values = random.integers(600, 900, (50, 100, 100)).astype(np.uint16)
    values[0, 0, 0] = 65535
    images = [quantiles(Image.fromarray(one)) for one in values]
    found = measure(images)
    assert found is not None
    assert found[0] == 600
    assert found[1] < 1100
    assert grey_levels(images, found) > 100


def test_a_range_that_wastes_grey_levels_is_a_warning(tmp_path: Path):
    codes: dict[str, str] = {}
    config = from_tables(tables(deep_images(tmp_path / "x", "12 bits"), value_range=[0, 65535]))
    _, ready, _ = prepared(config, tmp_path, codes.__setitem__)
    assert ready.value_range == (0, 65535)
    assert "data.value_range" in codes["few_grey_levels"]


def test_images_of_eight_bits_have_no_value_range(images: Path, tmp_path: Path):
    data, ready, _ = prepared(from_tables(tables(images)), tmp_path)
    assert data.value_range is None
    assert ready.scan is not None
    assert (ready.scan.deep, ready.scan.modes) == (0, {"RGB": 48})


@pytest.fixture(scope="module")
def deep_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A short run on grey images of 12 bits, by a network with one input channel."""
    root = tmp_path_factory.mktemp("deep")
    config = from_tables(tables(deep_images(root / "images", "12 bits", 16), channels=1))
    folder, _, status = Engine(root / "runs").run(config)
    assert status == 0, folder.log.read_text()
    return folder


def test_a_run_keeps_its_value_range_wherever_it_is_used(deep_run: RunFolder, tmp_path: Path):
    trained = load_trained_run(deep_run)
    found = trained.classifier.preprocessing
    assert found.value_range is not None
    assert (found.channels, found.value_range) == (1, (700, 899))
    with deep_run.predictions.open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    root = Path(trained.config.data.path)
    images = [image for image in find_images([root]) if str(image.path.relative_to(root)) in rows]
    networks = [open_run(deep_run)]
    for name in ("safetensors", "onnx", "pt2"):
        exported = export(deep_run, name, tmp_path / name, quiet)
        assert exported.comparison.probability < 1e-5
        assert "700 … 899 to 0 … 255" in (tmp_path / name / "README.md").read_text()
        if name != "pt2":
            networks.append(open_export(Path(exported.file)))
    for network in networks:
        for image, answer in zip(images, predict(network, images, quiet), strict=True):
            assert isinstance(answer, Prediction)
            row = rows[str(image.path.relative_to(root))]
            assert answer.probability == pytest.approx(float(row[row["predicted"]]), abs=1e-4)
    few = tmp_path / "few"
    for name in ("dark/0.png", "dark/1.png", "light/0.png"):
        (few / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, few / name)
    assert re_evaluate(trained, "", few, "cpu", quiet, ignore).count == 3
    assert ImageServer(deep_run).reply(ImageRequest(1, "dark/0.png", 32, 32)).png
    assert ImageServer(deep_run).reply(ImageRequest(2, "dark/0.png", 32, 32, "dark")).png


def test_a_resumed_run_takes_the_range_that_it_began_with(deep_run: RunFolder, tmp_path: Path):
    began = ReplayedLog.of(EventTail(deep_run).poll()).data
    assert began
    assert began.value_range == (700, 899)
    config = from_tables(tables(deep_images(tmp_path / "x", "12 bits")))
    folder = create(tmp_path / "runs", config)
    precision = Precision("fp32", torch.device("cpu"))
    for known in ((0.0, 1000.0), None):  # None: a run of version 0.1.0
        past = ReplayedLog(begun=True, data=msgspec.structs.replace(began, value_range=known))
        context = RunContext(folder, EventLog(folder), Control(folder), replayed=past)
        resumed = set_up_session(context, config, precision, precision)
        assert resumed.classifier.preprocessing.value_range == known
        expected = 700 / 1000 * 255 if known else 700 / 65535 * 255
        assert resumed.data.image_cache[0].min() == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("value", [[5], [3, 1], [2, 2]])
def test_an_impossible_range_is_refused_in_a_sentence(value: list[float], images: Path):
    with pytest.raises(InputError, match=r"write \[low, high\] with low < high"):
        from_tables(tables(images, value_range=value))


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("augment", ["none", "standard"])
def test_a_network_trains_on_images_of_other_channels(channels: int, augment: str, images: Path, session: Sessions):
    from engine.training.loop import fit

    one = session(from_tables(tables(images, channels=channels, augment=augment)))
    assert one.data.image_cache[0].shape[2] == channels
    assert one.classifier.preprocessing.input_shape == (channels, 32, 32)
    fit(one)
    assert one.epoch == 1


def test_a_fourth_channel_is_kept_as_it_is_stored():
    pixels = np.dstack([np.full((8, 8), value, np.uint8) for value in (200, 100, 50, 0)])
    kept = prepare(Image.fromarray(pixels, "RGBA"), 8, "bilinear", channels=4)
    assert kept[0, 0].tolist() == [200, 100, 50, 0]
    assert prepare(Image.fromarray(pixels[..., :3]), 8, "bilinear", channels=4)[0, 0].tolist() == [200, 100, 50, 255]
    assert prepare(Image.fromarray(pixels, "RGBA"), 8, "bilinear")[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "timm/test_vit"])
def test_the_first_layer_is_adapted_as_timm_does(name: str, channels: int):
    from timm.models._manipulate import adapt_input_conv

    theirs = registry.build(name, 3, HeadConfig()).module.state_dict()
    adapted = adapt_input_channels(registry.build(name, 3, HeadConfig(), 0, channels).module, theirs)
    ((key, weights),) = adapted.items()
    assert torch.allclose(weights, adapt_input_conv(channels, theirs[key]))


def test_trivial_augmentation_of_four_channels_is_refused(images: Path):
    with pytest.raises(InputError, match=r'set data\.augment = "standard"'):
        from_tables(tables(images, channels=4, augment="trivial"))


def test_eight_bit_caches_of_earlier_versions_stay_valid():
    """Features and images are found by these texts; a change would compute all of them again."""
    plain = Preprocessing(32, 36, (0.5,) * 3, (0.5,) * 3, "bilinear")
    expected = (
        "Preprocessing(image_size=32, resize_size=36, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), "
        "interpolation='bilinear')"
    )
    assert plain.cache_key == expected
    assert replace(plain, value_range=(0.0, 9.0)).cache_key == expected
    assert plain.with_channels(1).cache_key != expected


def sixteen_bit_colours(side: int = 8) -> bytes:
    """A PNG of RGB with 16 bits per channel, which Pillow reads and can't write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = (b"\0" + struct.pack(">HHH", 4000, 2000, 1000) * side) * side
    head = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_colours_of_sixteen_bits_and_mixed_depths_are_pointed_out(tmp_path: Path):
    root = deep_images(tmp_path / "x", "16 bits", 4)
    for name in ("dark", "light"):
        (root / name / "colour.png").write_bytes(sixteen_bit_colours())
    found = scan(DataConfig(path=str(root)), quiet)
    assert found.summary.modes == {"I;16": 8, "RGB;16": 2}
    assert {"colours_cut", "mixed_bits"} <= {one.code for one in found.findings}
