"""The lines that ``engine.experiments.server.server`` writes. Imports no torch, so that the app can read them."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from engine.experiments.linear_probe.results import ProbeResults
from engine.experiments.lr_range_test.curve import RangeTestResult, RangeTestStep

Answer = TypeVar("Answer")


class Line(msgspec.Struct, Generic[Answer], omit_defaults=True):
    """One of four messages.

    - Progress: ``activity``, ``done`` and ``total``, as in a Progress event.
    - A ``warning``.
    - At the end, the result in ``found``.
    - Or an ``error``: one sentence.
    """

    activity: str = ""
    done: int = 0
    total: int = 0
    warning: str = ""
    found: Answer | None = None
    error: str = ""


class RatesLine(Line[RangeTestResult]):
    """A line of a learning-rate range test. ``tried``: one step, which also counts as progress."""

    tried: RangeTestStep | None = None


class ProbeLine(Line[ProbeResults]):
    """A line of a linear probe."""
