"""The learning-rate range test of a draft: curves while it runs, then the suggested rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from engine.experiments.lr_range_test.curve import RangeTestResult
from engine.experiments.server.json_lines import RatesLine
from tltui.plotting.text_rows import Row
from tltui.settings.lr_suggestion import suggested_settings
from tltui.tables.lr_curve import Layout, PartialCurves, chart_rows, progress_page, result_page


class RangeTest:
    """An Experiment for ``ExperimentDialog``."""

    title: ClassVar[str] = "LR finder: learning-rate range test"
    name: ClassVar[str] = "lr-find"
    lines = RatesLine

    def __init__(self, lr: float, marker: str) -> None:
        """``lr``: the head's current rate; ``marker``: as in ``Curves``."""
        self._lr = lr
        self._marker = marker
        self._under = PartialCurves()
        self._found: RangeTestResult | None = None

    def handle(self, line: RatesLine) -> None:
        """Add a step, or the result."""
        if line.tried:
            self._under.add(line.tried)
        self._found = line.found

    def rows(self, width: int, height: int) -> list[Row]:
        """The charts, as high as there is room."""
        parts = [self._found.head, self._found.backbone] if self._found else []
        layout = Layout(width, chart_rows(width, height, sum(part is not None for part in parts) or 2), self._marker)
        return result_page(self._found, layout) if self._found else progress_page(self._under, layout)

    @property
    def changes(self) -> Mapping[str, float]:
        """The suggested rates; empty until the test is finished."""
        return suggested_settings(self._found, self._lr) if self._found else {}
