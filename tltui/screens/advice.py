"""What a run that is shown suffers from, and doing what helps: at once, after a question, or in a new draft."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from engine.diagnosis.diagnose import diagnose
from engine.diagnosis.finding import Finding, Remedy
from tltui.runs.run_follower import RunFollower
from tltui.screens.dialogs import Confirm
from tltui.widgets.finding_line import FindingLine

_TAKES_BACK = ("optimizer.lr",)  # what can be set back with nothing lost; all else is asked for


class Advice:
    """The most telling finding of one run."""

    def __init__(self, following: RunFollower, line: FindingLine) -> None:
        self._following = following
        self._line = line
        self._looked_at: tuple[int, int, int, bool] | None = None
        self._found: list[Finding] = []

    def show(self) -> None:
        """Show what there is to say now."""
        state = self._following.state
        looked_at = (len(state.epochs), len(state.answers), len(state.warnings), state.finished is not None)
        if looked_at != self._looked_at:
            self._looked_at = looked_at
            self._found = diagnose(state, self._following.config)
        if self.remedy is None:
            self._line.clear()
        else:
            self._line.show(self._found[0], self.remedy, len(self._found) - 1)

    @property
    def remedy(self) -> Remedy | None:
        """What helps best: in this run while it lives and can be changed, else in a new one."""
        if not self._found or any(map(self._following.pending, self._found[0].anew.settings)):
            return None
        return self._live or self._found[0].anew

    @property
    def question(self) -> Confirm | None:
        """What is to be asked before the remedy is used, None where it can be taken back or makes a draft."""
        remedy = self._live
        if remedy is None or all(key in _TAKES_BACK for key in remedy.settings):
            return None
        finding, words = self._found[0], remedy.words
        text = f"{finding.sentence[:1].upper()}{finding.sentence[1:]}."
        return Confirm(f"{words[:1].upper()}{words[1:]}?", text, {"no": "Go on as it is", "yes": "Do it"})

    @property
    def changes(self) -> Mapping[str, Any]:
        """The settings that the run itself is to take; none where the remedy is for a new run."""
        return self._live.settings if self._live else {}

    def draft(self, tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """``tables`` with what helps a new run."""
        changed = {section: deepcopy(dict(table)) for section, table in tables.items()}
        for key, value in self._found[0].anew.settings.items():
            section, name = key.split(".")
            changed[section][name] = value
        return changed

    @property
    def _live(self) -> Remedy | None:
        return None if self._following.has_ended or not self._found else self._found[0].now
