"""Exports of a real run, in all formats, and predictions with them."""

from __future__ import annotations

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from engine.compute.task import open_task
from engine.config.schema import HeadConfig
from engine.config.tasks import TaskSpec
from engine.config.toml_io import from_tables
from engine.errors import InputError
from engine.evaluation.load_run import load_trained_run
from engine.export.export import Exported, export
from engine.export.formats import FORMATS, open_export
from engine.export.metadata import METADATA_KEY, ExportMetadata
from engine.export.model_card import model_card
from engine.export.output_folder import atomic_folder
from engine.export.plain_network import plain_network
from engine.export.predict import Prediction, Unreadable, find_images, predict
from engine.export.predictor import open_run
from engine.export.sample_images import Samples, sample_images
from engine.export.verify import Comparison, verify
from engine.files.escapes import name_of
from engine.models import registry
from engine.runs.folder import RunFolder
from engine.runs.progress import quiet
from tests.conftest import TINY, Engine, make_images


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A short run with a hidden layer in its head; a class has a name that Markdown and terminals would obey."""
    folder = tmp_path_factory.mktemp("trained")
    photos = make_images(folder / "photos")
    (photos / "blue").rename(photos / "*blue*\x1b[2J")
    tables = {
        "data": {"path": str(photos), "image_size": 32, "val_fraction": 0.25, "test_fraction": 0.25},
        "model": TINY,
        "head": {"hidden": [16]},
        "freeze": {"rules": []},
        "optimizer": {"lr": 0.01, "backbone_lr_factor": 1.0},
        "train": {"epochs": 6, "batch_size": 8, "device": "cpu", "precision": "fp32"},
    }
    made, _, status = Engine(folder / "runs").run(from_tables(tables))
    assert status == 0, made.log.read_text()
    return made


@pytest.fixture(scope="module", params=list(FORMATS))
def exported(run: RunFolder, request: pytest.FixtureRequest) -> Exported:
    if request.param == "onnx":
        pytest.importorskip("onnxruntime")
    return export(run, request.param, None, quiet)


def test_an_export_answers_as_the_checkpoint_on_images_of_the_run(exported: Exported):
    assert exported.comparison.probability < 1e-5
    assert exported.comparison.logits < 1e-5
    assert "images of the run (test)" in exported.comparison.images


def test_an_export_is_a_private_folder_with_all_that_is_needed(run: RunFolder, exported: Exported):
    folder = Path(exported.folder)
    assert folder.parent == run.exports
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)} == {0o700}
    assert {path.name for path in folder.iterdir()} == {
        Path(exported.file).name, "README.md", "export.json", "images.py",
    }  # fmt: skip
    assert not [path for path in run.exports.iterdir() if path.name.startswith(".")]
    about = json.loads((folder / "export.json").read_text())
    assert about["classes"] == [r"*blue*\x1b[2J", "green", "red"]
    assert about["preprocessing"]["resize_size"] == 34


def test_the_card_tells_what_it_is_and_obeys_no_name(exported: Exported):
    text = (Path(exported.folder) / "README.md").read_text()
    assert r"0. \*blue\*\\x1b\[2J" in text
    assert "\x1b" not in text
    for part in (
        "95 % interval",
        "24 train, 12 val, 12 test",
        "all layers trainable",
        "bilinear",
        "torch 2",
        "```python",
    ):
        assert part in text
    assert ("Opset 18" in text) == (exported.opset == 18)


def test_predictions_are_those_of_the_run_whatever_predicts(run: RunFolder, exported: Exported):
    with run.predictions.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    root = Path(run.load_config().data.path)
    keys = {name_of(image.path.relative_to(root)): image for image in find_images([root])}
    images = [keys[row["path"]] for row in rows]
    networks = [open_run(run)]
    if not exported.file.endswith(".pt2"):
        networks.append(open_export(Path(exported.file)))
    for network in networks:
        for row, answer in zip(rows, predict(network, images, quiet), strict=True):
            assert isinstance(answer, Prediction)
            assert answer.label == row["predicted"]
            assert answer.probability == pytest.approx(float(row[row["predicted"]]), abs=1e-4)
            assert answer.top[0] == (answer.label, answer.probability)
            assert sum(share for _, share in answer.top) == pytest.approx(1.0, abs=1e-5)


def test_deep_and_broken_images_are_read_as_in_training(run: RunFolder, tmp_path: Path):
    grey = np.linspace(0, 65535, 40 * 40).reshape(40, 40).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "a16.png")
    Image.fromarray((grey / 257).round().astype(np.uint8)).save(tmp_path / "b8.png")
    (tmp_path / "c.jpg").write_bytes(b"no image")
    (tmp_path / "d.png").write_bytes((tmp_path / "b8.png").read_bytes()[:90])
    (tmp_path / "e.png").touch()
    os.mkfifo(tmp_path / "f.png")
    deep, plain, *broken = predict(open_run(run), find_images([tmp_path]), quiet)
    assert isinstance(deep, Prediction)
    assert isinstance(plain, Prediction)
    assert deep.top == plain.top
    for answer, reason in zip(broken, ("not an image", "", "empty", "a pipe"), strict=True):
        assert isinstance(answer, Unreadable)
        assert reason in answer.error


def test_answers_that_differ_are_no_export():
    samples = Samples(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), "3 images")
    task = open_task(TaskSpec("single", ["a", "b"]))

    def answer(images: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(images), 2)

    assert verify(task, answer, answer, samples, quiet) == Comparison(0.0, 0.0, "3 images")
    for other in (1.0, float("nan")):
        with pytest.raises(InputError, match="predictions differ"):
            verify(
                task, answer, lambda images, other=other: answer(images) + torch.tensor([0.0, other]), samples, quiet
            )


def test_a_run_whose_images_are_gone_is_compared_on_noise(run: RunFolder):
    photos = Path(run.load_config().data.path)
    photos.rename(photos.with_name("elsewhere"))
    try:
        samples = sample_images(load_trained_run(run), quiet)
    finally:
        photos.with_name("elsewhere").rename(photos)
    assert "noise" in samples.description


def test_what_fails_half_way_leaves_what_was_there(tmp_path: Path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "old").touch()

    def stop_half_way() -> None:
        with atomic_folder(tmp_path / "export") as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert (tmp_path / "export" / "old").exists()
    with atomic_folder(tmp_path / "export") as folder:
        (folder / "new").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["export", "export/new"]


def test_what_a_killed_process_left_goes_and_what_it_put_aside_comes_back(tmp_path: Path):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from engine.export.output_folder import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').touch()\n"
        "    print('half', flush=True)\n"
        "    input()\n"
    )

    def begin() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "export")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        assert process.stdout.readline() == "half\n"
        return process

    killed = begin()
    killed.kill()
    killed.communicate()
    (left,) = tmp_path.iterdir()
    left.rename(tmp_path / f"{left.name}.old")  # as it is between the two names
    at_work = begin()
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["half", "half"]
    assert (tmp_path / "export" / "half").exists()
    with atomic_folder(tmp_path / "export") as folder:
        (folder / "new").touch()
    assert len(list(tmp_path.glob(".export.*"))) == 1, "that of the running export stays"
    at_work.communicate("\n")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["export", "export/half"]


def test_nothing_is_written_where_something_is_or_where_a_link_leads(run: RunFolder, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(InputError, match="exists already"):
        export(run, "safetensors", tmp_path / "mine", quiet)
    other = RunFolder(tmp_path / "other")
    other.path.mkdir()
    other.exports.symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="is a link"):
        export(other, "safetensors", None, quiet)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_damaged_best_checkpoint_gives_way_to_the_last_and_the_card_says_so(run: RunFolder, tmp_path: Path):
    copy = RunFolder(tmp_path / run.id)
    shutil.copytree(run.path, copy.path, symlinks=True)
    best = copy.checkpoints / (copy.checkpoints / "best").resolve().name
    last = copy.checkpoints / "step-99999999"
    shutil.copytree(best, last)
    (copy.checkpoints / "last").unlink()
    (copy.checkpoints / "last").symlink_to(last.name)
    (best / "model.safetensors").write_bytes(b"damaged")
    trained = load_trained_run(copy)
    assert trained.checkpoint == last.name
    exported = export(copy, "safetensors", None, quiet)
    assert "have not been evaluated" in (Path(exported.folder) / "README.md").read_text()
    (last / "trainer.json").unlink()
    with pytest.raises(InputError, match="no usable checkpoint"):
        load_trained_run(copy)


def test_files_of_others_are_refused_with_a_reason(run: RunFolder, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match="not an export"):
        open_export(run.checkpoints / "best" / "model.safetensors")
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="not a safetensors file"):
        open_export(path)
    state = load_file(run.checkpoints / "best" / "model.safetensors")
    trained = load_trained_run(run)
    made = export(run, "safetensors", tmp_path / "made", quiet)
    about = json.loads((Path(made.folder) / "export.json").read_text())
    for change in (
        {"hidden": [10**9]}, {"classes": ["one"]}, {"model": "resnet18"}, {"model": 1},
        {"preprocessing": about["preprocessing"] | {"resize_size": 10**7}},
        {"preprocessing": about["preprocessing"] | {"interpolation": "__class__"}},
    ):  # fmt: skip
        save_file(state, path, {METADATA_KEY: json.dumps(about | change)})
        with pytest.raises(InputError, match=r"export the run again|not those of|can't be used"):
            open_export(path)
    (tmp_path / "model.pt2").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="can run code"):
        open_export(tmp_path / "model.pt2")
    assert trained.classes == open_export(Path(made.file)).task.spec.classes


def test_an_onnx_file_of_others_is_refused(tmp_path: Path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(b"\x08\x09broken")
    with pytest.raises(InputError, match="not an ONNX file"):
        open_export(tmp_path / "model.onnx")


@pytest.mark.parametrize("hidden", [[], [8]])
@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "googlenet", "timm/test_vit", "timm/test_convnext"],
)
def test_the_code_in_the_card_builds_the_network_that_was_trained(name: str, hidden: list[int]):
    import timm
    import torchvision

    classifier = registry.build(name, 5, HeadConfig(hidden=hidden))
    plain = plain_network(classifier, 5)
    namespace = {"torch": torch, "timm": timm, "torchvision": torchvision}
    exec("\n".join(plain.code), namespace)
    built: torch.nn.Module = namespace["network"]  # pyright: ignore[reportAssignmentType]
    for module in (built, plain.module):
        shapes = {key: tensor.shape for key, tensor in module.state_dict().items()}
        assert shapes == {key: tensor.shape for key, tensor in classifier.module.state_dict().items()}


def test_the_card_names_only_so_many_classes(run: RunFolder):
    trained = load_trained_run(run)
    made = ExportMetadata(
        run="r", model="resnet18", classes=[f"class {n}" for n in range(1000)], hidden=[], created="now", versions={},
        preprocessing=trained.classifier.preprocessing,
    )  # fmt: skip
    text = model_card(trained, made, FORMATS["pt2"].writer, Comparison(0.0, 0.0, "images"))
    assert "99. class 99\n… and 900 more" in text
