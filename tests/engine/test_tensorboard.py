"""Event files for TensorBoard hold what the run's own log holds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.runs.events import Step
from engine.runs.folder import RunFolder
from engine.training.tensorboard import writer
from tests.conftest import Engine


def test_tensorboard_files_hold_the_metrics_of_the_event_log(engine: Engine, config: Callable[..., RunConfig]):
    folder, state, status = engine.run(config(log={"tensorboard": True}))
    assert status == 0
    files = EventAccumulator(str(folder.path / "tensorboard"))
    files.Reload()
    losses = [(scalar.step, scalar.value) for scalar in files.Scalars("loss/train")]
    assert losses == [(step.step, pytest.approx(step.loss)) for step in state.steps.recent]
    shares = [(scalar.step, scalar.value) for scalar in files.Scalars("accuracy/val")]
    assert shares == [(epoch.step, pytest.approx(epoch.val_accuracy)) for epoch in state.epochs]
    rates = [scalar.value for scalar in files.Scalars("learning rate/head")]
    assert rates == pytest.approx([step.lr["head"] for step in state.steps.recent])
    assert (folder.path / "tensorboard").stat().st_mode & 0o777 == 0o700


def test_an_unwritable_folder_emits_one_warning(tmp_path: Path):
    (tmp_path / "tensorboard").write_text("in the way")
    told: list[str] = []
    write = writer(RunFolder(tmp_path), lambda _code, message: told.append(message))
    for step in (1, 2):
        write(Step(step=step, epoch=1, loss=1.0, lr={"head": 0.1}, grad_norm=1.0, images_per_second=1.0))
    assert len(told) == 1
    assert "the run continues without" in told[0]


def test_without_tensorboard_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r'pip install "tltui\[tensorboard\]"'):
        writer(RunFolder(tmp_path), lambda _code, _message: None)
