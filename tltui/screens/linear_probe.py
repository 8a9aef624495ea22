"""Linear probes of a draft's network, as the app shows them: the chart along its stages and the advice."""

from __future__ import annotations

from typing import ClassVar

from engine.config.schema import RunConfig
from engine.experiments.linear_probe.results import Probed
from engine.experiments.server.json_lines import ProbeLine
from tltui.plotting.text_rows import Row
from tltui.settings.probe_recommendation import Changes, recommended_changes
from tltui.tables.probe import Layout, introduction, probe_page
from tltui.text.glyphs import Glyphs


class Probe:
    """An Experiment for ``ExperimentDialog``."""

    title: ClassVar[str] = "What to train"
    name: ClassVar[str] = "probe"
    lines = ProbeLine

    def __init__(self, config: RunConfig, glyphs: Glyphs) -> None:
        self._config = config
        self._glyphs = glyphs
        self._found: Probed | None = None

    def take_in(self, line: ProbeLine) -> None:
        """The end; what comes before it is progress."""
        self._found = line.found

    def rows(self, width: int, _height: int) -> list[Row]:
        """What was found, or what is being looked for."""
        layout = Layout(width, self._glyphs)
        return probe_page(self._found, layout) if self._found else introduction(layout)

    @property
    def changes(self) -> Changes:
        """What is advised and not so yet; nothing before the probes are fitted."""
        return recommended_changes(self._found.recommendation, self._config) if self._found else {}
