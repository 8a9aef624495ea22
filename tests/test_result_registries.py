"""Adding a metric, an export format or a sampler takes one entry: every table, form and page then has it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from rich.console import Console
from textual.app import App

from engine.config.tasks import TaskSpec
from engine.config.toml_io import from_tables
from engine.evaluation.evaluate import evaluate
from engine.evaluation.metrics import METRICS, Metric
from engine.experiments.sweep.samplers import SAMPLERS, Sampler
from engine.system.interpreter import environment
from tests.tltui.test_version_0_1_0 import runs as runs  # noqa: PLC0414 (a fixture)
from tests.ui import still_life
from tests.ui.app_runs import text_of
from tltui.cli.report import write_report
from tltui.manual_reference.results import metrics
from tltui.runs import registry
from tltui.screens.sweep_form import SweepForm
from tltui.tables.evaluation import evaluation
from tltui.text.glyphs import UNICODE

ERROR_RATE = Metric(
    "error_rate",
    "error rate",
    lambda of: 1 - of.correct / of.count,
    "Proportion of misclassified images.",
    higher_is_better=False,
    unit="percent",
)


def python(code: str, *arguments: str, folder: Path) -> str:
    """Run a script that registers an entry before anything else is imported; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(PYTHONPATH=f"{folder}:{Path(__file__).parent.parent}", TERM="dumb", COLUMNS="200"),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_metric_is_in_event_table_report_and_manual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(METRICS, "error_rate", ERROR_RATE)
    event = evaluate(TaskSpec("single", ["a", "b"]), "test", [(torch.eye(2), torch.tensor([0, 0]))], ["1", "2"])
    assert event.metrics == {"error_rate": 0.5}
    console = Console(width=200, record=True)
    console.print(evaluation(event, []))
    assert "error rate 50.0%" in console.export_text()
    assert "| error rate | `error_rate` | lower | Proportion of misclassified images. |" in metrics()
    measured = msgspec.structs.replace(still_life.evaluated(), metrics={"error_rate": 0.08})
    monkeypatch.setattr(still_life, "evaluated", lambda: measured)
    runs_folder = still_life.runs_folder(tmp_path)
    write_report(registry.find(runs_folder, "c0de"), tmp_path / "report.md")
    assert "error rate 8.0%" in (tmp_path / "report.md").read_text()


FORMAT = """
import dataclasses, sys
from engine.export.formats import FORMATS
FORMATS["scratch"] = dataclasses.replace(
    FORMATS["safetensors"], name="scratch", file="model.scratch", module="scratch_format", content="scratch content"
)
from tltui.manual_reference.results import export_formats
print(export_formats())
from tltui.cli.main import main
sys.exit(main())
"""
SCRATCH_FORMAT = """
import dataclasses
from engine.export.safetensors_file import WRITER as SAFETENSORS
WRITER = dataclasses.replace(SAFETENSORS, describe=lambda metadata: "Described by its module.")
"""


def test_an_export_format_is_in_command_line_manual_and_model_card(runs: Path, tmp_path: Path):
    (tmp_path / "scratch_format.py").write_text(SCRATCH_FORMAT)
    said = python(FORMAT, "export", "--help", folder=tmp_path)
    assert "| `scratch` | scratch content |" in said
    assert "pt2|scratch]" in said
    export = tmp_path / "export"
    arguments = ("export", "completed", "--format", "scratch", "-o", str(export), "--runs-dir", str(runs))
    python(FORMAT, *arguments, folder=tmp_path)
    assert "Described by its module." in (export / "README.md").read_text()
    image = str(tmp_path / "photos" / "red" / "00.png")
    assert "red/00.png" in python(FORMAT, "predict", str(export), image, folder=tmp_path)


SAMPLER = """
import sys
from engine.experiments.sweep.samplers import SAMPLERS, Sampler
SAMPLERS["scratch"] = Sampler("scratch help", SAMPLERS["random"].build)
from pathlib import Path
from engine.config.toml_io import from_tables
from engine.experiments.sweep.definition import define, read_file
from engine.experiments.sweep.study import open_study
from tltui.manual_reference.settings import sweep_settings
print(sweep_settings())
path = Path(sys.argv[1])
sweep = define(path, read_file(path), from_tables({"data": {"source": "digits"}}))
print("asked for", open_study(sweep, f"sqlite:///{path.parent}/sweeps.db").ask().params)
"""


def test_a_sampler_is_in_definition_study_form_and_manual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sweep.toml").write_text(
        'base = "demo"\nsampler = "scratch"\ntrials = 2\n[space]\n"optimizer.lr" = { low = 1e-4, high = 1e-2 }\n'
    )
    said = python(SAMPLER, str(tmp_path / "sweep.toml"), folder=tmp_path)
    assert "scratch: scratch help" in said
    assert "tpe | scratch" in said
    assert "asked for {'optimizer.lr':" in said
    monkeypatch.setitem(SAMPLERS, "scratch", Sampler("scratch help", SAMPLERS["random"].build))

    async def show() -> str:
        app = App[None]()
        async with app.run_test(size=(120, 40)) as pilot:
            await app.push_screen(SweepForm(from_tables({"data": {"source": "digits"}}), UNICODE))
            await pilot.pause()
            return text_of(app)  # pyright: ignore[reportArgumentType]

    assert "scratch" in asyncio.run(show())
