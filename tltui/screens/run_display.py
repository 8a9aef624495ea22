"""Draws a followed run in the panes of its workbench."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from textual.screen import Screen

from tltui.runs.run_follower import RunFollower
from tltui.screens.diagnosis import Diagnosis
from tltui.screens.evaluate_pane import EvaluatePane
from tltui.screens.layers_pane import LayersPane
from tltui.screens.run_binding import RunBinding
from tltui.screens.train_pane import TrainPane
from tltui.widgets.config_form import ConfigForm
from tltui.widgets.finding_line import FindingLine
from tltui.widgets.progress_line import ProgressLine

_POLLS = 4  # a second; nothing is drawn where nothing is new
_SLICE_PAUSE = 0.001  # seconds between two slices of a long log, in which keys are handled


@dataclass(frozen=True)
class RunWidgets:
    """The widgets that show a run."""

    layers: LayersPane
    form: ConfigForm
    train: TrainPane
    evaluate: EvaluatePane
    progress: ProgressLine
    finding: FindingLine


class RunDisplay:
    """Polls the log of one run and draws what is new. Reads a long log in slices."""

    def __init__(
        self, screen: Screen[None], following: RunFollower, widgets: RunWidgets, changed: Callable[[], None]
    ) -> None:
        """``changed`` is called after new events are drawn."""
        self.following = following
        self._screen = screen
        self._widgets = widgets
        self._changed = changed
        self._slice_is_due = False
        self._bind()
        screen.set_interval(1 / _POLLS, self.poll)

    def _bind(self) -> None:
        """Bind the widgets to the state; a log that was replaced has a new state."""
        self.binding = RunBinding(self.following, self._widgets.layers, self._widgets.form)
        self.diagnosis = Diagnosis(self.following, self._widgets.finding)

    def poll(self) -> None:
        """Read new events and draw them, unless another screen is on top."""
        if self._slice_is_due or self._screen.app.screen is not self._screen:
            return
        before = self.following.state
        has_news = self.following.poll_batch()
        if self.following.state is not before:
            self._bind()
        if self.following.has_backlog:
            self._widgets.progress.show_reading(self.following.state.seq)
            self._slice_is_due = True
            self._screen.set_timer(_SLICE_PAUSE, self._read_next_slice)
            return
        self._widgets.progress.show(self.following.state, time.time())
        if has_news:
            self.binding.show()
            self._changed()
            self.draw()

    def draw(self) -> None:
        """Draw curves, evaluation and diagnosis."""
        self._widgets.train.show(self.following.state)
        self._widgets.evaluate.show(self.following.state)
        self.diagnosis.show()

    def _read_next_slice(self) -> None:
        self._slice_is_due = False
        self.poll()
