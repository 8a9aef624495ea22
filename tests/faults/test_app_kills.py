"""A run does not notice what becomes of the apps that watch it; ``python -m tests.faults --apps 100`` is longer."""

from __future__ import annotations

import os
from pathlib import Path

from tests.faults.app_kills import kill_the_app


def test_a_run_whose_apps_are_killed_ends_with_the_same_bits(tmp_path: Path):
    report = kill_the_app(tmp_path, kills=2, seed=os.getpid())
    assert report.problems == []
    assert report.identical == report.runs
