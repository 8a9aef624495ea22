"""``tltui export`` and ``tltui predict``, as real processes; exports in environments without tltui."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

from engine.config.toml_io import from_tables
from engine.runs.folder import RunFolder
from tests.conftest import TINY, Engine, make_images

TLTUI = [sys.executable, "-m", "tltui"]


# What they write is tested in the engine's own tests, faster.
FORMS = ["safetensors", *(pytest.param(form, marks=pytest.mark.slow) for form in ("onnx", "pt2"))]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("home") / "photos")


@pytest.fixture(scope="module")
def run(photos: Path) -> RunFolder:
    tables = {
        "data": {"path": str(photos), "image_size": 32, "val_fraction": 0.25, "test_fraction": 0.25},
        "model": TINY,
        "freeze": {"rules": []},
        "optimizer": {"lr": 0.01, "backbone_lr_factor": 1.0},
        "train": {"epochs": 6, "batch_size": 8, "device": "cpu"},
    }
    folder, _, status = Engine(photos.parent / "runs").run(from_tables(tables))
    assert status == 0
    return folder


def tltui(
    run: RunFolder, *arguments: object, given: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*TLTUI, *map(str, arguments)],
        check=False,
        input=given,
        capture_output=True,
        cwd=run.path.parent.parent,
        env={**os.environ, "TLTUI_RUNS": str(run.path.parent), "TERM": "dumb", **environment},
        timeout=200,
    )


def bare_environment(folder: Path, *packages: str) -> Path:
    """A fresh environment with nothing but these packages in the versions of here; returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    wanted = [f"{name}=={version(name).partition('+')[0]}" for name in packages]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    return python


def run_the_cards_code(python: Path, export: Path, images: list[Path]) -> dict[str, tuple[str, float]]:
    """Path to class and probability, as the code in the card prints them when it is run alone."""
    code = re.search(r"```python\n(.*?)```", (export / "README.md").read_text(), re.DOTALL)
    assert code
    (export / "predict.py").write_text(code[1])
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    arguments = [python, "predict.py", *images]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True, cwd=export, env=environment).stdout
    rows = [line.split("\t") for line in output.splitlines()]
    return {path: (label, float(probability)) for path, label, probability in rows}


def predictions_agree(run: RunFolder, export: Path, python: Path) -> bool:
    """Whether the card's code says of all images of ``run`` what ``tltui predict`` says."""
    images = sorted(Path(run.load_config().data.path).glob("*/*.png"))
    ours = json.loads(tltui(run, "predict", "last", *images, "--json").stdout)
    theirs = run_the_cards_code(python, export, images)
    labels = {answer["path"]: answer["label"] for answer in ours}
    return labels == {path: label for path, (label, _) in theirs.items()} and all(
        theirs[answer["path"]][1] == pytest.approx(answer["probability"], abs=1e-5) for answer in ours
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_run_is_exported_and_the_largest_difference_printed(form: str, run: RunFolder, tmp_path: Path):
    done = tltui(run, "export", "last", "--format", form, "-o", tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    wrote, compared = done.stdout.decode().splitlines()
    assert f"wrote {tmp_path}/home/model.{form}" in wrote
    assert ("opset 18" in wrote) == (form == "onnx")
    found = re.search(r"largest difference (\S+) in a probability", compared)
    assert found
    assert float(found[1]) < 1e-5
    assert predictions_agree(run, tmp_path / "home", Path(sys.executable))


def test_predictions_are_a_json_list_with_errors_for_unreadable_files(run: RunFolder, photos: Path, tmp_path: Path):
    exported = json.loads(tltui(run, "export", "last", "--format", "safetensors", "--json").stdout)
    assert exported["file"] == str(run.exports / "safetensors" / "model.safetensors")
    assert exported["comparison"]["probability"] < 1e-5
    broken = tmp_path / "\x1b[2Jbroken.png"
    broken.write_bytes(b"no image")
    asked = [photos / "red", photos / "green" / "00.png", broken]
    documents = []
    for network in (run.id[:4], exported["folder"], exported["file"]):
        done = tltui(run, "predict", network, *asked, "--json")
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(rb"17 images in [\d.]+ s, [\d,.]+ images/s, 1 unreadable\n", done.stderr)
        documents.append(json.loads(done.stdout))
    *read, error = documents[0]
    assert all(set(answer) == {"path", "label", "probability", "top"} for answer in read)
    assert [answer["path"] for answer in read[-2:]] == [
        str(photos / "red" / "15.png"),
        str(photos / "green" / "00.png"),
    ]
    assert set(error) == {"path", "error"}
    assert documents[1:] == documents[:1] * 2
    shown = tltui(run, "predict", "last", *asked)
    assert shown.returncode == 0
    assert b"\x1b" not in shown.stdout
    assert rb"\x1b[2Jbroken.png  can't be read: not an image" in shown.stdout
    assert len(shown.stdout.splitlines()) == 18


@pytest.mark.parametrize("between", [b"\n", b"\0"])
def test_paths_come_from_standard_input(between: bytes, run: RunFolder, photos: Path):
    names = [str(photos / "red" / "00.png"), "nowhere.png", str(photos / "blue"), "x" * 300]
    done = tltui(run, "predict", "last", "-", "--json", given=between.join(map(str.encode, names)) + between)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert len(answers) == 19
    assert answers[-1]["error"] == "file name too long"
    assert answers[1] == {"path": "nowhere.png", "error": "no such file or directory"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("predict", "last", "nowhere.png"), "there is no such file"),
        (("predict", "last", "runs"), "there are no images"),
        (("predict", "stranger.pt2", "photos"), "loading a .pt2 file can run code"),
        (("export", "nobody", "--format", "pt2"), 'there is no run "nobody"'),
        (("export", "last"), "Missing option '--format'"),
        (("export", "last", "--format", "pt2", "-o", "photos"), "exists already"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(arguments: tuple[str, ...], says: str, run: RunFolder, photos: Path):
    (photos.parent / "stranger.pt2").write_bytes(b"PK\x03\x04 strange")
    done = tltui(run, *arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    assert says in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_where_nothing_can_be_read_the_status_says_so(run: RunFolder, tmp_path: Path):
    (tmp_path / "a.png").touch()
    done = tltui(run, "predict", "last", tmp_path, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == [{"path": str(tmp_path / "a.png"), "error": "the file is empty"}]


def test_a_missing_extra_is_one_sentence(run: RunFolder, photos: Path, tmp_path: Path):
    (tmp_path / "model.onnx").touch()
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text("raise ImportError(\"No module named 'onnxruntime'\")")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    for arguments in (
        ("export", "last", "--format", "onnx", "-o", tmp_path / "new"),
        ("predict", tmp_path / "model.onnx", photos),
    ):
        done = tltui(run, *arguments, PYTHONPATH=path)
        assert done.returncode == 2
        assert b'pip install "tltui[onnx]"' in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(form: str, run: RunFolder, tmp_path: Path):
    command = f'ulimit -f 600; exec "$0" -m tltui export {run.path} --format {form} -o {tmp_path}/home'  # 600 KiB
    done = subprocess.run(["bash", "-c", command, sys.executable], check=False, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "can't be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_an_export_that_is_interrupted_leaves_nothing(number: int, run: RunFolder, tmp_path: Path):
    for attempt in range(5):  # it may be done before the signal comes
        place = tmp_path / f"home-{attempt}"
        process = subprocess.Popen(
            [*TLTUI, "export", str(run.path), "--format", "pt2", "-o", str(place)], stderr=subprocess.PIPE
        )
        while process.poll() is None and not list(tmp_path.glob(f".{place.name}.*")):
            time.sleep(0.005)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert b"Traceback" not in errors
        if process.returncode == 130:
            assert not list(tmp_path.glob(f"*{place.name}*"))
            return
        assert (place / "model.pt2").is_file()
    raise AssertionError("it was always done before the signal came")


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    ("form", "packages"),
    [("onnx", ("onnxruntime", "numpy", "pillow")), ("safetensors", ("torch", "torchvision", "timm"))],
)
def test_an_export_predicts_the_same_where_there_is_no_tltui(
    form: str, packages: tuple[str, ...], run: RunFolder, tmp_path: Path
):
    assert tltui(run, "export", "last", "--format", form, "-o", tmp_path / "home").returncode == 0
    assert predictions_agree(run, tmp_path / "home", bare_environment(tmp_path / "bare", *packages))
