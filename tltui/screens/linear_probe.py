"""Linear probes of a draft's network: accuracy by stage, then the recommendation."""

from __future__ import annotations

from typing import ClassVar

from engine.config.schema import RunConfig
from engine.experiments.linear_probe.results import ProbeResults
from engine.experiments.server.json_lines import ProbeLine
from tltui.plotting.text_rows import Row
from tltui.settings.probe_recommendation import Changes, recommended_changes
from tltui.tables.probe import Layout, introduction, probe_page
from tltui.text.glyphs import Glyphs


class Probe:
    """An Experiment for ``ExperimentDialog``."""

    title: ClassVar[str] = "Linear probe: how deep to unfreeze"
    name: ClassVar[str] = "probe"
    lines = ProbeLine

    def __init__(self, config: RunConfig, glyphs: Glyphs) -> None:
        self._config = config
        self._glyphs = glyphs
        self._found: ProbeResults | None = None

    def handle(self, line: ProbeLine) -> None:
        """Keep the result; lines before it are progress."""
        self._found = line.found

    def rows(self, width: int, _height: int) -> list[Row]:
        """The result, or before it what the probe measures."""
        layout = Layout(width, self._glyphs)
        return probe_page(self._found, layout) if self._found else introduction(layout)

    @property
    def changes(self) -> Changes:
        """Recommended settings that differ from the draft; empty until the probes are fitted."""
        return recommended_changes(self._found.recommendation, self._config) if self._found else {}
