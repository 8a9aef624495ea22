"""The three import rules, in fresh processes."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "timm", "sklearn", "numpy", "optuna", "sqlalchemy"}


def modules_after(code: str) -> set[str]:
    code += "; import sys; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


@pytest.mark.parametrize(
    "module",
    [
        *("tltui.screens.experiment", "tltui.lr_finding.experiment", "engine.experiments.lines"),
        *("tltui", "tltui.cli", "tltui.runs", "tltui.watch", "tltui.cached", "tltui.taking_home"),
        *("engine.config", "engine.estimate", "engine.plan", "engine.protocol", "engine.rundir", "engine.state"),
        *("engine.experiments.depth_advice", "engine.experiments.diagnosis", "tltui.probing.experiment"),
    ],
)
def test_what_starts_fast_imports_nothing_heavy(module: str):
    assert not modules_after(f"import {module}") & HEAVY


def test_help_imports_neither_heavy_libraries_nor_pydantic():
    code = "import sys; sys.argv = ['tltui', '--help']\nfrom tltui.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\nmain = None"
    assert not modules_after(code) & {*HEAVY, "pydantic", "textual"}


def test_the_app_starts_without_the_manual():
    found = modules_after("import tltui.app, tltui.cli, tltui.screens.home")
    assert not found & {"markdown_it", "rich.markdown", "tltui.manual.topics", "tltui.manual_reference"}


def test_the_engine_knows_no_terminal():
    assert not modules_after("import engine.run, engine.worker") & {"tltui", "textual", "plotext", "click"}
