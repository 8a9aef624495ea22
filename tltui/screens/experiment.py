"""The dialog of an experiment with a draft: progress, result, suggested settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, ClassVar, Protocol

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.experiments.server.json_lines import Line
from tltui.engine_client.experiments import SomeLine, run_experiment
from tltui.plotting.eta import ActivityClock
from tltui.settings.draft import to_text
from tltui.tables.activities import ACTIVITIES
from tltui.text.glyphs import Glyphs, safe
from tltui.text.numbers import duration
from tltui.text.numbers import share as percent
from tltui.widgets.styled_rows import styled_rows

Changes = Mapping[str, Any]
"""Settings by key."""

_DRAWS = 4  # a second, while it runs
_BAR = 24  # cells


class Experiment(Protocol[SomeLine]):
    """One kind of experiment. ``name`` and ``lines``: as in ``run_experiment``."""

    title: ClassVar[str]
    name: ClassVar[str]
    lines: type[SomeLine]

    def handle(self, line: SomeLine) -> None:
        """Handle a line of its process."""
        ...

    def rows(self, width: int, height: int, /) -> Sequence[Sequence[tuple[str, str]]]:
        """The page: rows of (text, style name); ``height``: rows without scrolling."""
        ...

    @property
    def changes(self) -> Changes:
        """The suggested settings; empty until it is finished."""
        ...


class ExperimentDialog(ModalScreen[Changes | None]):
    """Runs the experiment while open; returns the accepted settings, or None."""

    manual_topic = "experiments"

    CSS_PATH = "../widgets/dialogs.tcss"
    DEFAULT_CSS = """
    ExperimentDialog VerticalScroll { height: 1fr; scrollbar-gutter: stable; }
    ExperimentDialog #now { height: auto; max-height: 40%; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "cancel / keep settings", id="experiment.close"),
        Binding("enter", "take", "apply the suggested settings", id="experiment.take"),
    ]

    def __init__(self, experiment: Experiment[Any], config: RunConfig, runs_dir: Path, glyphs: Glyphs) -> None:
        """``runs_dir``: as in ``run_experiment``."""
        super().__init__()
        self._runs_dir = runs_dir
        self._experiment = experiment
        self._config = config
        self._glyphs = glyphs
        self._over = False
        self._clock = ActivityClock()
        self._now = Content("starting")
        self._changed = True

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -full") as dialog:
            dialog.border_title = Content(self._experiment.title)
            with VerticalScroll():
                yield Static(id="page")
            yield Static(id="now")
            yield Static("", classes="keys")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self.set_interval(1 / _DRAWS, self._draw)
        self._run()

    def on_resize(self, _event: events.Resize) -> None:
        self._changed = True
        self.call_after_refresh(self._draw)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Suggestions can be applied once there are any."""
        return action != "take" or bool(self._experiment.changes)

    def action_take(self) -> None:
        """Apply the suggestion."""
        self.dismiss(self._experiment.changes)

    def action_close(self) -> None:
        """Close without changes; a running experiment is cancelled."""
        self.dismiss(None)

    @work(exclusive=True, group="experiment", exit_on_error=False)
    async def _run(self) -> None:
        try:
            experiment = self._experiment
            running = run_experiment(experiment.name, experiment.lines, self._config, self._runs_dir)
            async with aclosing(running) as lines:
                async for line in lines:
                    self._receive(line)
        except InputError as error:
            self._now = Content.styled(safe(str(error), 400), "$text-error")
        else:
            self._now = self._suggestion()
        self._over = self._changed = True
        self._draw()
        self.refresh_bindings()

    def _receive(self, line: Line[Any]) -> None:
        self._changed = True
        self._experiment.handle(line)
        if line.activity:
            self._now = self._progress(line)
        elif line.warning:
            self.notify(safe(line.warning, 400), severity="warning", markup=False)

    def _progress(self, line: Line[Any]) -> Content:
        words = ACTIVITIES.get(line.activity, safe(line.activity, 24))
        left = self._clock.seconds_left(line.activity, line.done, line.total)
        if not line.total:
            return Content(words)
        full, empty = self._glyphs.bar(line.done / line.total, _BAR)
        return Content.assemble(
            f"{words} ",
            (full, "$text-primary"),
            (empty, "$text-muted"),
            f"  {percent(line.done / line.total)}",
            f"   {duration(left)} left" if left is not None else "",
        )

    def _suggestion(self) -> Content:
        changes = [f"{key} = {safe(to_text(value))}" for key, value in self._experiment.changes.items()]
        return (
            Content.styled("   ".join(changes), "bold $text-success") if changes else Content("No settings to change")
        )

    def _draw(self) -> None:
        scroll = self.query_one(VerticalScroll)
        width, height = scroll.scrollable_content_region.size
        if not self._changed or not width:
            return
        self._changed = False
        rows = self._experiment.rows(width, height)
        self.query_one("#page", Static).update(styled_rows(rows))
        self.query_one("#now", Static).update(self._now)
        self.query_one(".keys", Static).update(self._keys(scrolls=len(rows) > height))

    def _keys(self, *, scrolls: bool) -> str:
        keys = ["enter apply", "esc keep settings"] if self._experiment.changes else ["esc close"]
        return "  ".join([*(["up and down scroll"] if scrolls else []), *(keys if self._over else ["esc cancel"])])
