"""What tests of sweeps share; modules with a ``tltui`` of their own use that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config.schema import RunConfig
from engine.config.toml_io import to_toml
from engine.runs.folder import RunFolder
from tests.tltui.test_command_line import CommandLine

RATES = '"optimizer.lr" = [0.01, 0.001, 1e-4]'


@pytest.fixture
def tltui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """The command in a folder of its own; whatever still trains is killed afterwards."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = CommandLine(tmp_path)
    yield command
    command.kill_all()


@pytest.fixture
def sweep_file(tmp_path: Path, config: Callable[..., RunConfig]) -> Callable[..., str]:
    """Writes base and sweep; keywords are settings of the sweep, ``base`` holds sections of the config."""

    def write(space: str = RATES, base: dict[str, Any] | None = None, **settings: object) -> str:
        (tmp_path / "run.toml").write_text(to_toml(config(**{"train": {"epochs": 1}, **(base or {})})))
        given = {"base": "run.toml", "sampler": "grid", "pruner": "none", **settings}
        lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]
        (tmp_path / "sweep.toml").write_text("\n".join([*lines, "[space]", space]))
        return "sweep.toml"

    return write


def engine_of(folder: RunFolder) -> int:
    return json.loads(folder.lock.read_text())["process_id"]
