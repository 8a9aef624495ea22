"""What ``engine.experiments.server.server`` writes, a line each. Imports no torch: the app reads it."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from engine.experiments.linear_probe.results import ProbeResults
from engine.experiments.lr_range_test.curve import RangeTestResult, RangeTestStep

Answer = TypeVar("Answer")


class Line(msgspec.Struct, Generic[Answer], omit_defaults=True):
    """One thing of these: how far work is (``activity``, ``done``, ``total``, as in a Progress event), a ``warning``,
    and at the end what was ``found``, or in ``error`` why nothing was, in a sentence."""

    activity: str = ""
    done: int = 0
    total: int = 0
    warning: str = ""
    found: Answer | None = None
    error: str = ""


class RatesLine(Line[RangeTestResult]):
    """Of a learning-rate range test; a step that was ``tried`` says how far work is, too."""

    tried: RangeTestStep | None = None


class ProbeLine(Line[ProbeResults]):
    """Of linear probes."""
