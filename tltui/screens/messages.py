"""What screens ask of the app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.message import Message

from engine.config.schema import RunConfig
from engine.runs.folder import RunFolder

if TYPE_CHECKING:
    from tltui.screens.workbench import Workbench
    from tltui.settings.sweep_fields import SweepFields

# The settings of a run as TOML has them, valid or not.
Tables = Mapping[str, Mapping[str, Any]]


@dataclass
class RunChosen(Message):
    """A run is to be opened."""

    folder: RunFolder


@dataclass
class ComparisonWanted(Message):
    """Runs are to be compared."""

    folders: list[RunFolder]


@dataclass
class DraftWanted(Message):
    """A draft with these settings is wanted, with the cursor on the setting ``focus`` if there is one."""

    tables: Tables
    focus: str = ""


@dataclass
class RunWanted(Message):
    """The draft is to be run."""

    config: RunConfig
    workbench: Workbench


@dataclass
class SweepWanted(Message):
    """A sweep around the settings ``base`` is to begin."""

    filled: SweepFields
    base: RunConfig


@dataclass
class SweepsWanted(Message):
    """One of the sweeps that there are is to be opened."""


@dataclass
class SettingsWanted(Message):
    """The draft is to take over the settings of another run."""

    workbench: Workbench


@dataclass
class WorkbenchLeft(Message):
    """The user goes back; ``tables`` are the draft's, None for a run."""

    tables: Tables | None
