"""A corpus of bad inputs and the sentence that each one gets: ``python -m tests.faults.corpus`` prints the table."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from engine.cache.file_digests import FileDigests
from engine.config.schema import HeadConfig, RunConfig
from engine.config.toml_io import from_tables
from engine.data.image_cache import fill_cache, open_spaces
from engine.data.prepare import load_data
from engine.data.source import Sample, from_files
from engine.data.sources import open_source
from engine.errors import InputError
from engine.files.escapes import printable
from engine.models import registry
from engine.models.preprocessing import Preprocessing
from engine.models.weights import load_weights
from engine.runs.folder import create
from engine.runs.progress import quiet
from tests.conftest import TINY, make_images
from tests.faults.corpus_files import FILES, JPEG, PNG
from tests.faults.hostile_runs import RUNS

PREPROCESSING = Preprocessing(32, 36, (0.5,) * 3, (0.5,) * 3, "bilinear")


@dataclass(frozen=True)
class Outcome:
    """What came of an input: "works", "skipped", "warned", "refused"; ``says``: in which words."""

    kind: str
    says: str


@dataclass(frozen=True)
class Case:
    """One input: ``look`` lays it out in an empty folder and tells what comes of it."""

    group: str
    name: str
    look: Callable[[Path], Outcome]


# Images


def _file(name: str, write: Callable[[Path], object]) -> Callable[[Path], Outcome]:
    def look(folder: Path) -> Outcome:
        write(folder / name)
        source = from_files(["a", "b"], [Sample(printable(name), 0, "")], lambda _index: folder / name)
        spaces = open_spaces(folder / "cache", PREPROCESSING, "x", _fail, 2**30)
        found = fill_cache(source, PREPROCESSING, spaces, FileDigests(folder / "cache"), quiet)
        if found.skipped:
            return Outcome("skipped", f"{found.skipped[0].path}: {found.skipped[0].reason}")
        height, width, _ = spaces.images.read(found.keys)[0].shape
        return Outcome("works", f"as {width} × {height} pixels")

    return look


# Folders and tables


def _tree(lay_out: Callable[[Path], object], **data: object) -> Callable[[Path], Outcome]:
    def look(folder: Path) -> Outcome:
        root = folder / "photos"
        root.mkdir()
        lay_out(root)
        return _prepared({"path": str(root), **data}, folder)

    return look


def _table(content: bytes) -> Callable[[Path], Outcome]:
    def look(folder: Path) -> Outcome:
        make_images(folder, 8)
        (folder / "table.csv").write_bytes(content)
        return _prepared({"source": "csv", "path": str(folder / "table.csv")}, folder)

    return look


def _prepared(data: dict[str, object], folder: Path) -> Outcome:
    told: list[str] = []
    config = from_tables({"data": {"image_size": 32, **data}, "model": dict(TINY)})
    try:
        run = create(folder / "runs", config)
        found, ready = load_data(
            open_source(config.data),
            config,
            PREPROCESSING,
            run,
            quiet,
            lambda code, text: told.append(f"{code}: {text}"),
        )
    except InputError as error:
        return Outcome("refused", str(error))
    if told:
        return Outcome("warned", "; ".join(told))
    return Outcome("works", f"{sum(ready.counts.values())} images of {len(found.classes)} classes")


def _split_like(root: Path, names: dict[str, int], **classes: tuple[str, ...]) -> None:
    random = np.random.default_rng(1)
    for split, count in names.items():
        for label in classes.get(split, ("red", "blue")):
            (root / split / label).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = random.integers(0, 255, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{number}.png")


def _leak(root: Path, change: Callable[[bytes], bytes]) -> None:
    _split_like(root, {"train": 6, "val": 3, "test": 3})
    smooth = Image.fromarray(np.random.default_rng(2).integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((200, 200))
    buffer = io.BytesIO()
    smooth.save(buffer, "PNG")
    (root / "train" / "red" / "photo.png").write_bytes(buffer.getvalue())
    (root / "test" / "blue" / "copy.png").write_bytes(change(buffer.getvalue()))


def _recompressed(content: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).resize((160, 160)).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def _with(root: Path, change: Callable[[Path], object], per_class: int = 8) -> None:
    make_images(root, per_class)
    change(root)


def _chain(root: Path) -> None:
    (root / "a").symlink_to(root / "b")
    (root / "b").symlink_to(root / "a")


FOLDERS: dict[str, Callable[[Path], Outcome]] = {
    "empty folder": _tree(lambda root: None),
    "images without class folders": _tree(lambda root: (root / "a.jpg").write_bytes(JPEG)),
    "class folders without images": _tree(lambda root: [(root / name).mkdir() for name in "ab"]),
    "one class only": _tree(lambda root: make_images(root, 8, names=("red",))),
    "one class without images": _tree(lambda root: _with(root, lambda r: (r / "violet").mkdir())),
    "one image in a class": _tree(
        lambda root: _with(root, lambda r: [path.unlink() for path in sorted((r / "red").iterdir())[1:]])
    ),
    "no such folder": _tree(lambda root: root.rmdir()),
    "file in place of the folder": _tree(lambda root: (root.rmdir(), root.write_bytes(b"x"))),
    "test/ and val/ without train/": _tree(lambda root: _split_like(root, {"test": 3, "val": 3})),
    "Train/ and TEST/ in capitals": _tree(lambda root: _split_like(root, {"Train": 9, "TEST": 4})),
    "val/ and valid/": _tree(lambda root: _split_like(root, {"train": 3, "val": 3, "valid": 3})),
    "a class in test/ that train/ lacks": _tree(
        lambda root: _split_like(root, {"train": 9, "val": 3, "test": 3}, test=("red", "blue", "green"))
    ),
    "a class in train/ that val/ and test/ lack": _tree(
        lambda root: _split_like(root, {"train": 9, "val": 3, "test": 3}, train=("red", "blue", "green"))
    ),
    "the same image in train/ and test/": _tree(lambda root: _leak(root, lambda content: content)),
    "a smaller JPEG of a training image in test/": _tree(lambda root: _leak(root, _recompressed)),
    "links in a circle": _tree(lambda root: _with(root, _chain)),
    "a link up to the folder itself": _tree(lambda root: _with(root, lambda r: (r / "self").symlink_to(r))),
    "more than a fifth unreadable": _tree(
        lambda root: _with(root, lambda r: [path.write_bytes(b"x") for path in (r / "red").iterdir()])
    ),
    "class names with escapes and bytes that are no UTF-8": _tree(
        lambda root: _with(root, lambda r: (r / "red").rename(r / os.fsdecode(b"\x1b[2J=1+1\xff\n")))
    ),
}

ROWS = "".join(f"{name}/{number:02}.png,{name}\n" for name in ("red", "blue") for number in range(8)).encode()
TABLES: dict[str, Callable[[Path], Outcome]] = {
    "empty table": _table(b""),
    "table without the column label": _table(b"path,kind\na.png,b\n"),
    "table with an empty label": _table(b"path,label\n" + ROWS + b"red/00.png,\n"),
    "row cut short": _table(b"path,label\n" + ROWS + b"red/00.png\n"),
    "unknown split": _table(b"path,label,split\nred/00.png,red,future\n"),
    "split in some rows only": _table(b"path,label,split\nred/00.png,red,train\nblue/00.png,blue,\n"),
    "image that is gone": _table(b"path,label\n" + ROWS + b"red/gone.png,red\n"),
    "all images gone": _table(b"path,label\n" + ROWS.replace(b"/", b"_")),
    "zero byte in a path": _table(b"path,label\n" + ROWS + b"red/\x0000.png,red\n"),
    "binary file as table": _table(PNG),
    "table in UTF-16": _table(("path,label\n" + ROWS.decode()).encode("utf-16")),
    "labels that are formulas": _table(b"path,label\n" + ROWS.replace(b",red", b",=cmd|' /C calc'!A0")),
    "endless field": _table(b'path,label\n"' + b"x" * 10**6),
    "table that is a folder": lambda folder: _prepared({"source": "csv", "path": str(folder)}, folder),
    "table that is a pipe": lambda folder: (
        os.mkfifo(folder / "t.csv"), _prepared({"source": "csv", "path": str(folder / "t.csv")}, folder)
    )[1],
}  # fmt: skip


# Settings


def tltui(*arguments: str, runs: Path, patience: float = 60) -> subprocess.CompletedProcess[bytes]:
    """The command line as users have it, given ``patience`` seconds."""
    command = [sys.executable, "-m", "tltui", *arguments, "--runs-dir", str(runs)]
    return subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=patience)


def _settings(content: bytes, *changes: str) -> Callable[[Path], Outcome]:
    def look(folder: Path) -> Outcome:
        (folder / "run.toml").write_bytes(content)
        sets = [part for change in changes for part in ("--set", change)]
        done = tltui("train", str(folder / "run.toml"), "--headless", *sets, runs=folder / "runs")
        return Outcome(_KINDS.get(done.returncode, f"status {done.returncode}"), done.stderr.decode().strip())

    return look


def _settings_at(folder: Path, make: Callable[[Path], object]) -> Outcome:
    make(folder / "run.toml")
    done = tltui("train", str(folder / "run.toml"), "--headless", runs=folder / "runs")
    return Outcome(_KINDS.get(done.returncode, f"status {done.returncode}"), done.stderr.decode().strip())


_KINDS = {0: "works", 2: "refused"}
SETTINGS: dict[str, Callable[[Path], Outcome]] = {
    "text that is no TOML": _settings(b"epochs: 3"),
    "bytes that are no UTF-8": _settings(b'[data]\npath = "\xff"'),
    "setting that nobody knows": _settings(b'[data]\npath = "x"\nimage_sise = 3'),
    "number out of range": _settings(b'[data]\npath = "x"\n[optimizer]\nlr = -1'),
    "number that is none": _settings(b'[data]\npath = "x"\n[optimizer]\nlr = nan'),
    "number of 400 digits": _settings(b'[data]\npath = "x"\n[train]\nepochs = ' + b"9" * 400),
    "text in place of a number": _settings(b'[data]\npath = "x"\n[train]\nepochs = "many"'),
    "table nested 5,000 deep": _settings(b"x = " + b"[" * 5000),
    "escape sequence in a setting": _settings(b'[data]\npath = "x"\n["\\u001b[2Jevil"]\nx = 1'),
    "escape sequence on the command line": _settings(b'[data]\npath = "x"', "\x1b[2J.lr=3"),
    "bytes on the command line": _settings(b'[data]\npath = "x"', os.fsdecode(b"data.path=\xff")),
    "empty file": _settings(b""),
    "file that is a pipe": lambda folder: _settings_at(folder, os.mkfifo),
    "file that is a folder": lambda folder: _settings_at(folder, Path.mkdir),
}


# Weights


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ.get("EXPLODES_HERE", "exploded"),)


def _weights(name: str, write: Callable[[Path], object]) -> Callable[[Path], Outcome]:
    def look(folder: Path) -> Outcome:
        write(folder / name)
        classifier = registry.build("timm/test_resnet", 3, HeadConfig())
        try:
            report = load_weights(classifier, str(folder / name), quiet)
        except InputError as error:
            return Outcome("refused", str(error))
        odd = {"mismatched": report.mismatched, "not finite": report.not_finite, "unexpected": report.unexpected}
        told = ", ".join(f"{len(keys)} {kind}, e.g. {keys[0]}" for kind, keys in odd.items() if keys)
        return Outcome("warned" if told else "works", f"{report.loaded} loaded {told}".strip())

    return look


def _state() -> dict[str, torch.Tensor]:
    return dict(registry.build("timm/test_resnet", 3, HeadConfig()).module.state_dict())


def _zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50 * 2**20)


def _holds_itself(path: Path) -> None:
    table: dict[str, object] = {}
    table["model"] = table
    torch.save(table, path)


def _header(content: bytes, size: int | None = None) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(struct.pack("<Q", len(content) if size is None else size) + content)


_ABSURD = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
WEIGHTS: dict[str, Callable[[Path], Outcome]] = {
    "pickle that runs code": _weights("raw.pth", lambda path: path.write_bytes(pickle.dumps(_Bomb()))),
    "torch file that runs code": _weights("bomb.pth", lambda path: torch.save({"w": _Bomb()}, path)),
    "whole pickled network": _weights("network.pth", lambda path: torch.save(torch.nn.Linear(2, 2), path)),
    "zip bomb": _weights("bomb.pth", _zip_bomb),
    "text": _weights("text.pth", lambda path: path.write_bytes(b"weights")),
    "empty file": _weights("empty.pth", lambda path: path.write_bytes(b"")),
    "truncated torch file": _weights(
        "cut.pth", lambda path: (torch.save(_state(), path), path.write_bytes(path.read_bytes()[:9999]))
    ),
    "pickle that ends early": _weights("cut.pth", lambda path: path.write_bytes(b"\x80\x02" + b"(" * 1000 + b".")),
    "table that holds itself": _weights("loop.pth", _holds_itself),
    "safetensors with a header of 2⁶² bytes": _weights("head.safetensors", _header(b"{}", 2**62)),
    "safetensors with a tensor of 4 TiB": _weights("vast.safetensors", _header(_ABSURD)),
    "safetensors that is text": _weights("text.safetensors", lambda path: path.write_bytes(b"weights" * 9)),
    "weights of another network": _weights("other.safetensors", lambda path: save_file({"w": torch.ones(1)}, path)),
    "whole numbers in place of floats": _weights(
        "whole.safetensors",
        lambda path: save_file(_state() | {"conv1.0.weight": _state()["conv1.0.weight"].int()}, path),
    ),
    "NaN in the weights": _weights(
        "nan.safetensors",
        lambda path: save_file(_state() | {"conv1.0.weight": _state()["conv1.0.weight"] * np.nan}, path),
    ),
    "pipe": _weights("pipe.pth", os.mkfifo),
    "folder": _weights("folder.pth", Path.mkdir),
}


# Run folders


def _finished_run(runs: Path) -> Path:
    """A run's folder as a completed run leaves it, without its tensors."""
    folder = create(runs, RunConfig.model_validate({"data": {"source": "digits"}, "model": dict(TINY)}))
    versions = {"torch": "2"}
    counts = {"total": 10, "trainable": 5, "frozen": 5}
    figures = {"label": "a", "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    events: list[dict[str, Any]] = [
        {"type": "run_started", "run": folder.id, "versions": versions, "device": "cpu", "device_name": "x", "seed": 1,
         "precision": "fp32", "process_id": 1, "epochs": 1},
        {"type": "progress", "activity": "data", "done": 1, "total": 2, "unit": "images"},
        {"type": "data_ready", "classes": ["a", "b"], "counts": {"train": 2}, "class_counts": {"train": [1, 1]},
         "skipped": [{"path": "x", "reason": "y"}], "seconds": 1.0},
        {"type": "model_ready", "name": "m", "parameters": counts, "head": ["fc"], "input_size": 32,
         "rules": ["train *"], "steps_per_epoch": 1, "weights": {"source": "none"}},
        {"type": "warning", "code": "c", "message": "m"},
        {"type": "step", "step": 1, "epoch": 1, "loss": 1.0, "lr": {"head": 0.1}, "grad_norm": 1.0,
         "images_per_second": 1.0},
        {"type": "epoch", "epoch": 1, "step": 1, "train_loss": 1.0, "train_accuracy": 1.0, "val_loss": 1.0,
         "val_accuracy": 1.0, "seconds": 1.0, "frozen_digest": "d", "frozen_unchanged": True},
        {"type": "evaluated", "split": "test", "count": 1, "log_loss": 0.1, "accuracy": 1.0,
         "accuracy_interval": [0, 1],
         "balanced_accuracy": 1.0, "macro_f1": 1.0, "classes": ["a", "b"], "per_class": [figures] * 2,
         "confusion": [[1, 0], [0, 1]], "images_per_second": 1.0},
        {"type": "run_finished", "status": "completed", "reason": "done", "seconds": 1.0, "exit_code": 0},
    ]  # fmt: skip
    lines = [json.dumps({**event, "seq": seq, "time": 1.0}) + "\n" for seq, event in enumerate(events, 1)]
    folder.events.write_text("".join(lines[:-1]))
    (folder.path / "last").write_text(lines[-1])  # put at the end once the log is spoiled
    folder.lock.write_text("{}")
    folder.checkpoints.mkdir()
    return folder.path


def _hostile(spoil: Callable[[Path], object]) -> Callable[[Path], Outcome]:
    def look(folder: Path) -> Outcome:
        run = _finished_run(folder / "runs")
        last = (run / "last").read_text()
        (run / "last").unlink()
        spoil(run)
        events = run / "events.jsonl"
        if events.is_file() and not events.is_symlink():
            with events.open("a") as log:
                log.write(last)
        listed = tltui("runs", runs=run.parent)
        shown = tltui("attach", run.name, "--headless", runs=run.parent)
        as_json = tltui("attach", run.name, "--json", runs=run.parent)
        for done in (listed, shown, as_json):
            check_output(done.stdout + done.stderr)
        said = (shown.stderr or listed.stderr or shown.stdout.strip().splitlines()[-1]).decode().strip()
        return Outcome(
            {0: "shown", 2: "refused"}.get(shown.returncode, "shown as lost"), said.replace(str(folder), "…")
        )

    return look


def check_output(output: bytes) -> None:
    """Raises AssertionError for output that has a traceback or would steer a terminal."""
    text = output.decode()  # and is UTF-8
    assert "Traceback" not in text, text
    odd = [character for character in text if character not in "\n" and printable(character) != character]
    assert not odd, (odd, text)


def _fail(code: str, sentence: str) -> None:
    raise AssertionError(f"{code}: {sentence}")


GROUPS: dict[str, dict[str, Callable[[Path], Outcome]]] = {
    "image": {name: _file(*case) for name, case in FILES.items() if name != "file that nobody may read" or os.getuid()},
    "folder": FOLDERS,
    "table": TABLES,
    "settings": SETTINGS,
    "weights": WEIGHTS,
    "run": {name: _hostile(spoil) for name, spoil in RUNS.items()},
}
CASES = [Case(group, name, look) for group, cases in GROUPS.items() for name, look in cases.items()]


def outcomes(cases: list[Case]) -> Iterator[tuple[Case, Outcome]]:
    """What comes of each case, in a folder of its own."""
    for case in cases:
        folder = Path(tempfile.mkdtemp(prefix="corpus-"))
        try:
            outcome = case.look(folder)
            yield case, Outcome(outcome.kind, outcome.says.replace(str(folder), "…"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    wanted = [case for case in CASES if not sys.argv[1:] or case.group in sys.argv[1:]]
    for case, outcome in outcomes(wanted):
        print(f"{case.group:9}{case.name:58.57}{outcome.kind:9}{outcome.says}", flush=True)  # noqa: T201
    print(f"{len(wanted)} inputs")  # noqa: T201
