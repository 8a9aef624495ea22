"""The three import rules, in fresh processes."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HEAVY = {"torch", "torchvision", "timm", "sklearn", "numpy", "optuna", "sqlalchemy"}


def modules_after(code: str) -> set[str]:
    code += "; import sys; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


@pytest.mark.parametrize(
    "module",
    [
        *("tltui.screens.experiment", "tltui.screens.lr_finder", "engine.experiments.server.json_lines"),
        *("tltui", "tltui.cli.main", "tltui.runs.registry", "tltui.cli.follow", "tltui.cli.cache", "tltui.cli.export"),
        *(
            "engine.config.schema",
            "engine.costs.estimate",
            "engine.config.freeze_rules",
            "engine.runs.events",
            "engine.runs.folder",
            "engine.runs.state",
        ),
        *("engine.experiments.linear_probe.recommendation", "engine.diagnosis.diagnose", "tltui.screens.linear_probe"),
    ],
)
def test_what_starts_fast_imports_nothing_heavy(module: str):
    assert not modules_after(f"import {module}") & HEAVY


def test_the_app_counts_the_images_of_tables_and_archives_without_heavy_libraries(tmp_path: Path):
    (tmp_path / "table.csv").write_text("path,label\na.png,x\nb.png,y\n")
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name in ("x/a.png", "y/b.png"):
            archive.writestr(name, b"")
    for name in ("table.csv", "images.zip"):
        path = str(tmp_path / name)
        code = f"import pathlib; from tltui.widgets.image_folder import scan; scan(pathlib.Path({path!r}))"
        assert not modules_after(code) & HEAVY


def test_help_imports_neither_heavy_libraries_nor_pydantic():
    code = "import sys; sys.argv = ['tltui', '--help']\nfrom tltui.cli.main import main\n"
    code += "try: main()\nexcept SystemExit: pass\nmain = None"
    assert not modules_after(code) & {*HEAVY, "pydantic", "textual"}


def test_the_app_starts_without_the_manual():
    found = modules_after("import tltui.app, tltui.cli, tltui.screens.home")
    assert not found & {"markdown_it", "rich.markdown", "tltui.manual.topics", "tltui.manual_reference"}


def test_the_engine_knows_no_terminal():
    assert not modules_after("import engine.process.run, engine.process.worker") & {
        "tltui",
        "textual",
        "plotext",
        "click",
    }
