"""A plain chart of a run's loss and accuracy, drawn anew four times a second: ``python -m … RUN``.

What one writes first, with plotext in a widget as textual-plotext does it; only to be compared with.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import plotext
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widget import Widget
from textual.widgets import Static

from engine.runs.event_log import EventTail
from engine.runs.events import Epoch, Step
from engine.runs.folder import RunFolder


class Chart(Widget):
    """All steps of a run, whatever their number."""

    def __init__(self, steps: list[Step], epochs: list[Epoch], names: tuple[str, str]) -> None:
        super().__init__()
        self.steps, self.epochs = steps, epochs
        self.names = names

    def render(self) -> Text:
        if not self.steps:
            return Text()
        of_steps, of_epochs = self.names
        plotext.clear_figure()
        plotext.limit_size(False, False)
        plotext.plot_size(*self.size)
        plotext.title(f"{of_steps} {self.steps[-1].step}")
        for name, events in ((of_steps, self.steps), (of_epochs, self.epochs)):
            points = [(event.step, getattr(event, name, None)) for event in events]
            points = [(step, value) for step, value in points if value is not None]
            if points:  # plotext fails on none
                plotext.plot([step for step, _ in points], [value for _, value in points], marker="braille", label=name)
        return Text.from_ansi(plotext.build())


class PlainChart(App[None]):
    """Two charts above each other, and above them two rows among which a cursor moves."""

    CSS = ".chosen { background: $primary; } Static { height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [("up", "choose(0)", "up"), ("down", "choose(1)", "down")]

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.epochs: list[Epoch] = []
        self.tail = EventTail(folder)

    def compose(self) -> ComposeResult:
        yield Static("first row", classes="chosen")
        yield Static("second row")
        yield Chart(self.steps, self.epochs, ("loss", "val_loss"))
        yield Chart(self.steps, self.epochs, ("grad_norm", "val_accuracy"))

    def on_mount(self) -> None:
        self.set_interval(1 / 4, self.draw)

    def action_choose(self, row: int) -> None:
        for at, choice in enumerate(self.query(Static)):
            choice.set_class(at == row, "chosen")

    def draw(self) -> None:
        for event in self.tail.poll():
            if isinstance(event, Step):
                self.steps.append(event)
            elif isinstance(event, Epoch):
                self.epochs.append(event)
        for chart in self.query(Chart):
            chart.refresh()


if __name__ == "__main__":
    PlainChart(RunFolder(Path(sys.argv[1]))).run()
