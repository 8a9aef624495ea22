"""Runs that version 0.1.0 wrote open, resume, export and evaluate with the present version."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.runs.folder import RunFolder
from engine.system.interpreter import environment, python_module
from tltui.runs import registry

WRITTEN = Path(__file__).parent.parent / "data" / "version_0_1_0"
IMAGES = "/data/photos"  # where the images were when the runs were written


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The runs as they were written, with the images moved to where this test has them."""
    photos = shutil.copytree(WRITTEN / "photos", tmp_path / "photos")
    for name in ("stopped", "completed"):
        folder = shutil.copytree(WRITTEN / name, tmp_path / "runs" / name, symlinks=True)
        for file in (folder / "run.toml", *folder.glob("checkpoints/step-*/trainer.json")):
            file.write_text(file.read_text().replace(IMAGES, str(photos)))
        for sums in folder.glob("checkpoints/step-*/SHA256SUMS"):
            names = [line.split("  ")[1] for line in sums.read_text().splitlines()]
            digests = [hashlib.sha256((sums.parent / name).read_bytes()).hexdigest() for name in names]
            sums.write_text("".join(f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True)))
    return tmp_path / "runs"


def tltui(runs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        python_module("tltui", *arguments, "--runs-dir", str(runs)),
        env=environment(TERM="dumb", COLUMNS="200"),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_both_runs_are_listed_and_shown(runs: Path):
    listed = json.loads(tltui(runs, "runs", "--json").stdout)
    assert {(run["run"], run["status"], run["epoch"]) for run in listed} == {
        ("stopped", "stopped", 7),
        ("completed", "completed", 9),
    }
    shown = tltui(runs, "attach", "completed", "--headless")
    assert shown.returncode == 0, shown.stderr
    assert "never changed" in shown.stdout


def test_a_stopped_run_resumes_to_the_metrics_of_the_one_that_was_completed(runs: Path):
    done = tltui(runs, "resume", "stopped", "--set", "train.epochs=9", "--headless")
    assert done.returncode == 0, done.stdout + done.stderr
    resumed, completed = (registry.read(RunFolder(runs / name)) for name in ("stopped", "completed"))
    assert resumed.status == "completed"
    assert [epoch.epoch for epoch in resumed.epochs] == list(range(1, 10))
    for mine, theirs in zip(resumed.epochs, completed.epochs, strict=True):
        assert mine.val_loss == pytest.approx(theirs.val_loss, rel=1e-4)
    assert resumed.epochs[-1].frozen_digest == completed.epochs[-1].frozen_digest


def test_a_completed_run_is_evaluated_predicted_exported_and_reported(runs: Path, tmp_path: Path):
    stored = json.loads((runs / "completed" / "evaluation" / "test.json").read_text())
    again = tltui(runs, "evaluate", "completed", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["confusion"] == stored["confusion"]
    exported = tltui(runs, "export", "completed", "--format", "safetensors", "-o", str(tmp_path / "export"))
    assert exported.returncode == 0, exported.stderr
    image = str(tmp_path / "photos" / "red" / "00.png")
    answers = [
        json.loads(tltui(runs, "predict", name, image, "--json").stdout)
        for name in ("completed", str(tmp_path / "export"))
    ]
    assert answers[0][0]["label"] == answers[1][0]["label"]
    report = tltui(runs, "report", "completed", "-o", str(tmp_path / "report.md"))
    assert report.returncode == 0, report.stderr
    assert os.path.getsize(tmp_path / "report.md") > 1000
