"""Requests that screens post to the app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from textual.message import Message

from engine.config.schema import RunConfig
from engine.runs.folder import RunFolder

if TYPE_CHECKING:
    from tltui.runs.run_follower import RunFollower
    from tltui.settings.sweep_fields import SweepFields

Tables = Mapping[str, Mapping[str, Any]]
"""Settings as TOML tables, valid or not."""


class DraftScreen(Protocol):
    """The screen of a draft, as the app uses it to answer a request."""

    def follow(self, following: RunFollower) -> None:
        """Show a run in place of the draft."""
        ...

    def load_settings(self, tables: Tables) -> None:
        """Replace all settings of the draft."""
        ...


@dataclass
class OpenRun(Message):
    """Open a run."""

    folder: RunFolder


@dataclass
class CompareRuns(Message):
    """Compare runs."""

    folders: list[RunFolder]


@dataclass
class OpenDraft(Message):
    """Open a draft with these settings and focus the setting ``focus``, if any."""

    tables: Tables
    focus: str = ""


@dataclass
class StartRun(Message):
    """Start or queue a run; ``draft`` shows it."""

    config: RunConfig
    draft: DraftScreen


@dataclass
class StartFolds(Message):
    """Train the folds of a cross-validation with the settings ``base``."""

    base: RunConfig


@dataclass
class OpenFolds(Message):
    """Open a cross-validation by its name."""

    name: str


@dataclass
class StartSweep(Message):
    """Start a sweep around the settings ``base``."""

    filled: SweepFields
    base: RunConfig


@dataclass
class ChooseSweep(Message):
    """Choose one of the existing sweeps and open it."""


@dataclass
class CopySettings(Message):
    """Choose a run and load its settings into ``draft``."""

    draft: DraftScreen


@dataclass
class LeaveWorkbench(Message):
    """Return to the list of runs; ``tables`` are the draft's settings, None for a run."""

    tables: Tables | None
