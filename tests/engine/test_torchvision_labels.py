"""Each of torchvision's datasets is used with one class number an image, or refused with one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from engine.config.schema import DataConfig
from engine.data.sources import open_source
from engine.data.torchvision_source import DATASETS
from engine.errors import InputError


def idx(values: np.ndarray, kind: int) -> bytes:
    """An array as MNIST's files have it."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, kind, values.ndim]) + sizes + values.astype(">i4" if kind == 12 else "u1").tobytes()


def write_qmnist(root: Path) -> None:
    raw = root / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count in (("train", 20), ("test", 10)):
        pixels = np.arange(count)[:, None, None] * np.ones((1, 28, 28))
        # Class, NIST partition, writer, index within it, NIST's own number of the class, index, duplicate, unused.
        labels = np.stack([np.arange(count) % 10, *np.full((7, count), 77)], axis=1)
        (raw / f"qmnist-{split}-images-idx3-ubyte").write_bytes(idx(pixels, 8))
        (raw / f"qmnist-{split}-labels-idx2-int").write_bytes(idx(labels, 12))


def test_qmnist_gives_its_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TLTUI_OFFLINE", "1")
    write_qmnist(tmp_path)
    source = open_source(DataConfig(source="torchvision", name="QMNIST", path=str(tmp_path)))
    assert [one.label for one in source.samples if one.split == "train"] == [number % 10 for number in range(20)]
    assert [one.label for one in source.samples if one.split == "test"] == list(range(10))
    assert len(source.classes) == 10
    assert source.open(3).getpixel((0, 0)) == 3


def dataset_with(targets: Any, attribute: str, given: Any) -> type:  # noqa: ANN401
    """A dataset as torchvision's are, with these labels under this name, which gives ``given`` with its first image."""

    class Made:
        classes = ("a", "b")

        def __init__(self, root: str, split: str = "", **_rest: object) -> None:
            if attribute:
                setattr(self, attribute, targets)

        def __len__(self) -> int:
            return len(targets)

        def __getitem__(self, index: int) -> tuple[Image.Image, Any]:
            return Image.new("RGB", (8, 8)), given if index == 0 else targets[index]

    return Made


GOOD: dict[str, tuple[Any, str, Any]] = {
    "list": ([0, 1], "targets", 0),
    "tensor": (torch.tensor([0, 1]), "targets", 0),
    "tensor of one column": (torch.tensor([[0], [1]]), "labels", 0),
    "array of floats": (np.array([0.0, 1.0]), "_labels", 0),
    "several columns, the class first": (torch.tensor([[0, 9], [1, 8]]), "targets", 0),
    "none but with the images": ([torch.tensor(0), torch.tensor([1])], "", torch.tensor(0)),
}
BAD: dict[str, tuple[Any, str, Any]] = {
    "several numbers": (torch.tensor([[0, 1], [1, 0]]), "targets", torch.tensor([0, 1])),
    "columns without the class": (torch.tensor([[5, 1], [6, 0]]), "targets", 1),
    "tables": ([{"label": 0}, {"label": 1}], "targets", {"label": 0}),
    "tuples": ([(0, 1), (1, 0)], "_labels", (0, 1)),
    "boxes with the images": ([torch.zeros(4), torch.zeros(4)], "", torch.zeros(4)),
    "fractions": (np.array([0.5, 1.5]), "y", 0.5),
    "nothing": ([None, None], "", None),
}


@pytest.mark.parametrize("case", GOOD)
def test_labels_of_one_number_are_used(case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(datasets, "SVHN", dataset_with(*GOOD[case]))
    source = open_source(DataConfig(source="torchvision", name="SVHN", path=str(tmp_path)))
    assert [one.label for one in source.samples] == [0, 1, 0, 1]


@pytest.mark.parametrize("case", BAD)
def test_other_labels_are_refused(case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(datasets, "SVHN", dataset_with(*BAD[case]))
    with pytest.raises(InputError, match=r"torchvision's SVHN has labels .*; choose another data\.name") as refused:
        open_source(DataConfig(source="torchvision", name="SVHN", path=str(tmp_path)))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"FakeData"}))
def test_a_dataset_that_is_not_here_is_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TLTUI_OFFLINE", "1")
    with pytest.raises(InputError, match=rf"^{name} is not in "):
        open_source(DataConfig(source="torchvision", name=name, path=str(tmp_path)))


@pytest.mark.parametrize("name", ["QMNIST", "EMNIST"])
def test_datasets_that_hand_arguments_on_can_be_downloaded(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("TLTUI_OFFLINE", raising=False)
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(InputError, match="can't be downloaded") as refused:
        open_source(DataConfig(source="torchvision", name=name, path=str(tmp_path)))
    assert "torchvision can't download it" not in str(refused.value)


def test_fake_data_has_its_labels_with_its_images():
    source = open_source(DataConfig(source="torchvision", name="FakeData"))
    assert len(source.classes) == 10
