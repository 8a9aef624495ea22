"""The learning-rate range test of a draft: curves while it runs, and what it suggests."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.config import RunConfig
from engine.errors import InputError
from engine.experiments.lr_curve import Found, Tried
from engine.experiments.lr_lines import Line
from tltui.glyphs import Glyphs, duration, safe
from tltui.glyphs import share as percent
from tltui.lr_finding.asking import ask
from tltui.lr_finding.page import Layout, Row, Under, chart_rows, progress_page, result_page
from tltui.lr_finding.taking import suggested_settings
from tltui.progress import ACTIVITIES

_STYLES = {
    "title": "bold",
    "curve": "$text-primary",
    "mark": "$text-warning",
    "best": "bold $text-success",
    "phase": "$text-success",
    "axis": "$text-muted",
    "note": "$foreground",
}
_DRAWS = 4  # a second, while the test runs
_BAR = 24  # cells


class Rates(ModalScreen[dict[str, float] | None]):
    """Tests while it is open; gives the settings to change, or None."""

    CSS_PATH = "../widgets/dialogs.tcss"
    DEFAULT_CSS = """
    Rates VerticalScroll { height: 1fr; }
    Rates #now { height: auto; max-height: 4; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "cancel the test, or leave the rates as they are", id="rates.close"),
        Binding("enter", "take", "take the suggested rates", id="rates.take"),
    ]

    def __init__(self, config: RunConfig, marker: str, glyphs: Glyphs) -> None:
        """``marker``: as ``Curves`` takes it."""
        super().__init__()
        self._config = config
        self._marker = marker
        self._glyphs = glyphs
        self._under = Under()
        self._found: Found | None = None
        self._over = False
        self._began: tuple[float, int] | None = None
        self._now = Content("starting")
        self._changed = True

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -full") as dialog:
            dialog.border_title = Content("Learning rates")
            with VerticalScroll():
                yield Static(id="page")
            yield Static(id="now")
            yield Static("", classes="keys")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self.set_interval(1 / _DRAWS, self._draw)
        self._test()

    def on_resize(self, _event: events.Resize) -> None:
        self._changed = True
        self.call_after_refresh(self._draw)

    @property
    def changes(self) -> dict[str, float]:
        """The settings that the test suggests to change; none before it is over."""
        return suggested_settings(self._found, self._config.optimizer.lr) if self._found else {}

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is nothing to take before something was found."""
        return action != "take" or bool(self.changes)

    def action_take(self) -> None:
        """Close with the suggestion."""
        self.dismiss(self.changes)

    def action_close(self) -> None:
        """Close without; a test under way ends."""
        self.dismiss(None)

    @work(exclusive=True, group="rates", exit_on_error=False)
    async def _test(self) -> None:
        try:
            async with aclosing(ask(self._config)) as lines:
                async for line in lines:
                    self._take_in(line)
        except InputError as error:
            self._now = Content.styled(safe(str(error), 400), "$text-error")
        self._over = self._changed = True
        self._draw()
        self.refresh_bindings()

    def _take_in(self, line: Line) -> None:
        self._changed = True
        if line.tried:
            self._under.add(line.tried)
            self._now = self._progress(line.tried)
        elif line.found:
            self._found = line.found
            taken = "   ".join(f"{key} = {value:g}" for key, value in self.changes.items())
            self._now = Content.styled(taken, "bold $text-success") if taken else Content("nothing to change")
        elif line.warning:
            self.notify(safe(line.warning, 400), severity="warning", markup=False)
        elif line.activity:
            far = f"  {line.done:,} of {line.total:,}" if line.total else ""
            self._now = Content(f"{ACTIVITIES.get(line.activity, safe(line.activity, 24))}{far}")

    def _progress(self, tried: Tried) -> Content:
        now = time.monotonic()
        began, first = self._began = self._began or (now, tried.done)
        full, empty = self._glyphs.bar(tried.done / tried.total, _BAR)
        steps = tried.done - first
        left = f"   {duration((now - began) / steps * (tried.total - tried.done))} left" if steps else ""
        return Content.assemble(
            f"{ACTIVITIES['lr_find']} ",
            (full, "$text-primary"),
            (empty, "$text-muted"),
            f"  {percent(tried.done / tried.total)}{left}",
        )

    def _draw(self) -> None:
        scroll = self.query_one(VerticalScroll)
        width, height = scroll.content_size
        if not self._changed or not width:
            return
        self._changed = False
        parts = [self._found.head, self._found.backbone] if self._found else []
        layout = Layout(width, chart_rows(width, height, sum(part is not None for part in parts) or 2), self._marker)
        rows = result_page(self._found, layout) if self._found else progress_page(self._under, layout)
        self.query_one("#page", Static).update(Content("\n").join(map(_content, rows)))
        self.query_one("#now", Static).update(self._now)
        keys = "enter take them  esc leave them" if self.changes else "esc close" if self._over else "esc cancel"
        self.query_one(".keys", Static).update(keys)


def _content(row: Row) -> Content:
    return Content.assemble(*((text, _STYLES[style]) for text, style in row))
