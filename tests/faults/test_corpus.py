"""Every input of the corpus gets a sensible result or one clear sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.files.escapes import printable
from tests.faults.corpus import CASES, Case, check_output, outcomes, tltui

KINDS = {"works", "skipped", "warned", "refused", "shown", "shown as lost"}


def test_the_corpus_is_large():
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}: {case.name}")
def test_every_input_gets_a_result_or_one_clear_sentence(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EXPLODES_HERE", str(tmp_path / "exploded"))
    ((_, outcome),) = outcomes([case])
    assert outcome.kind in KINDS
    assert outcome.says
    assert printable(outcome.says) == outcome.says  # one line, and nothing in it steers a terminal
    assert "Traceback" not in outcome.says
    assert len(outcome.says) < 600
    assert not (tmp_path / "exploded").exists()
    if outcome.kind in ("skipped", "refused"):
        assert len(outcome.says.split()) >= 5  # what, and where


def test_images_of_all_kinds_in_one_folder_are_trained_on_from_the_command_line(tmp_path: Path):
    """As users meet them: the whole command, with an engine of its own."""
    from tests.conftest import make_images
    from tests.faults.corpus_files import FILES

    root = make_images(tmp_path / "photos", 60)
    for name, write in FILES.values():
        write(root / "red" / name)
    settings = "data.image_size=32 model.name=timm/test_resnet model.weights=none freeze.rules=[] train.epochs=1"
    changes = [part for change in settings.split() for part in ("--set", change)]
    (tmp_path / "run.toml").write_text('[data]\npath = "photos"\n')
    done = tltui("train", str(tmp_path / "run.toml"), "--headless", *changes, runs=tmp_path / "runs", patience=240)
    check_output(done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert run.stat().st_mode & 0o777 == 0o700
    for table in ("splits.csv", "predictions.csv"):
        lines = (run / table).read_text().splitlines()
        assert not any(line.startswith(("=", "+", "-", "@", '"=')) for line in lines)


def test_a_name_that_would_steer_a_terminal_is_written_out_in_every_refusal():
    assert str(InputError("a\x1b[2J\n\u202eb" + os.fsdecode(b"\xff"))) == r"a\x1b[2J\n\u202eb\udcff"
