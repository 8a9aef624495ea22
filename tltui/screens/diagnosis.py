"""The diagnosis of a followed run and its recommendation: applied at once, after a question, or to a new draft."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from engine.diagnosis.diagnose import diagnose
from engine.diagnosis.finding import Finding, Remedy
from tltui.runs.run_follower import RunFollower
from tltui.screens.dialogs import Confirm
from tltui.widgets.finding_line import FindingLine

_REVERSIBLE = ("optimizer.lr",)  # changes that lose nothing when set back; all others are confirmed


class Diagnosis:
    """The most severe finding of one run, shown on a line."""

    def __init__(self, following: RunFollower, line: FindingLine) -> None:
        self._following = following
        self._line = line
        self._seen: tuple[int, int, int, bool] | None = None
        self._findings: list[Finding] = []

    def show(self) -> None:
        """Diagnose the run where its state has changed, and show the first finding."""
        state = self._following.state
        seen = (len(state.epochs), len(state.answers), len(state.warnings), state.finished is not None)
        if seen != self._seen:
            self._seen = seen
            self._findings = diagnose(state, self._following.config)
        if self.remedy is None:
            self._line.clear()
        else:
            self._line.show(self._findings[0], self.remedy, len(self._findings) - 1)

    @property
    def remedy(self) -> Remedy | None:
        """The recommendation: a live change where the run takes one, else settings for a new run."""
        if not self._findings or any(map(self._following.pending, self._findings[0].anew.settings)):
            return None
        return self._live or self._findings[0].anew

    @property
    def question(self) -> Confirm | None:
        """The question before a live change; None where the change is reversible or opens a draft."""
        remedy = self._live
        if remedy is None or all(key in _REVERSIBLE for key in remedy.settings):
            return None
        finding, words = self._findings[0], remedy.words
        text = f"{finding.sentence[:1].upper()}{finding.sentence[1:]}."
        return Confirm(f"{words[:1].upper()}{words[1:]}?", text, {"no": "Keep training", "yes": "Apply"})

    @property
    def changes(self) -> Mapping[str, Any]:
        """Live settings to change in this run; empty where the recommendation is for a new run."""
        return self._live.settings if self._live else {}

    def draft(self, tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """A copy of ``tables`` with the settings recommended for a new run."""
        changed = {section: deepcopy(dict(table)) for section, table in tables.items()}
        for key, value in self._findings[0].anew.settings.items():
            section, name = key.split(".")
            changed[section][name] = value
        return changed

    @property
    def _live(self) -> Remedy | None:
        return None if self._following.has_ended or not self._findings else self._findings[0].now
