"""What the engine finds of its machine."""

from __future__ import annotations

import pytest

from engine.system.cpu import usable_cores


def test_a_run_uses_no_more_cores_than_are_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    all_of_them = usable_cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert usable_cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    assert usable_cores() == all_of_them
