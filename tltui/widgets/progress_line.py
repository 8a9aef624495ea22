"""The progress line of a run: current activity, share done, speed, time left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget

from engine.evaluation.metrics import formatted_score, metric_label
from engine.runs import events as p
from engine.runs.run_status import RunStatus
from engine.runs.state import RunState
from tltui.plotting.eta import planned_steps, seconds_left
from tltui.plotting.text_rows import Row, changes, width_of
from tltui.tables.activities import ACTIVITIES
from tltui.text import numbers as write
from tltui.text.glyphs import UNICODE, Glyphs, safe

_BEFORE_STEPS = {RunStatus.STARTING: "starting the worker", RunStatus.TRAINING: "first step"}
# Seconds without an event after which the silence is shown; slow disks delay the first step.
QUIET_AFTER = 20.0
SHORTEST_BAR = 8
LONGEST_BAR = 48


@dataclass(frozen=True)
class Activity:
    """An activity, the share done (None: unknown), and facts in order of importance."""

    what: str
    share: float | None
    facts: tuple[str, ...]
    style: str = "$text"


class ProgressLine(Widget):
    """One line about a run; redraws changed cells only."""

    DEFAULT_CSS = """
    ProgressLine { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, *, glyphs: Glyphs = UNICODE, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._row: Row = []
        self._glyphs = glyphs
        self._activity = Activity("", None, ())
        self._since: p.Progress | None = None

    def show(self, state: RunState, now: float) -> None:
        """Show ``state``; ``now``: Unix seconds."""
        progress = state.progress
        before = self._since
        if progress is None or before is None or before.activity != progress.activity or before.done > progress.done:
            self._since = progress
        self._show(current_activity(state, self._since, now, self._glyphs))

    def show_reading(self, events: int) -> None:
        """Show the progress of reading a long log."""
        self._show(Activity(f"reading {events:,} events", None, ()))

    def _show(self, activity: Activity) -> None:
        if activity != self._activity:
            self._activity = activity
            self._draw()

    @property
    def words(self) -> str:
        """The line without its bar."""
        share = "" if self._activity.share is None else write.share(self._activity.share)
        return "  ".join(filter(None, (self._activity.what, share, *self._activity.facts)))

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def render(self) -> Content:
        return Content.assemble(*self._row)

    def _draw(self) -> None:
        """Redraw changed cells only."""
        line = self._line()
        before, self._row = self._row, [*line, (" " * max(self.size.width - width_of(line), 0), "")]
        if width_of(before) != width_of(self._row):
            self.refresh()
        elif changed := [Region(start, 0, end - start, 1) for start, end in changes(before, self._row)]:
            self.refresh(*changed)

    def _line(self) -> Row:
        activity, room = self._activity, self.size.width
        what = (activity.what, activity.style)
        if activity.share is None:
            return [what, (_as_many_as_fit(activity.facts, room - cell_len(activity.what), self._glyphs.ellipsis), "")]
        share = f"  {write.share(activity.share):>4}"
        room -= cell_len(activity.what) + len(share) + 1
        facts = _as_many_as_fit(activity.facts, room - SHORTEST_BAR, self._glyphs.ellipsis)
        room -= cell_len(facts)
        if room < SHORTEST_BAR:
            return [what, (share + facts, "")]
        full, empty = self._glyphs.bar(activity.share, min(room, LONGEST_BAR))
        return [what, (" ", ""), (full, "$text-primary"), (empty, "$text-muted"), (share + facts, "")]


def _as_many_as_fit(facts: Sequence[str], room: int, ellipsis: str) -> str:
    """Join as many facts as fit; the first is shortened if there is room for 12 cells."""
    line = ""
    for fact in facts:
        if cell_len(line) + 3 + cell_len(fact) <= room:
            line += f"   {fact}"
        else:
            break
    shortest = 12
    return line or (f"   {safe(facts[0], room - 3, ellipsis)}" if facts and room >= shortest else "")


def current_activity(state: RunState, since: p.Progress | None, now: float, glyphs: Glyphs) -> Activity:
    """Current activity of a run; ``since``: first progress event of a long step."""
    if state.finished is not None:
        return _finished(state.finished, glyphs)
    if state.progress is not None:
        return _long_step(state.progress, since or state.progress)
    last = state.steps.last
    if state.status in (RunStatus.TRAINING, RunStatus.PAUSED) and last:
        return _training(state, last, now, glyphs)
    return Activity(_BEFORE_STEPS.get(state.status, state.status), None, _quiet(state, now))


def _long_step(progress: p.Progress, since: p.Progress) -> Activity:
    elapsed = progress.time - since.time
    rate = (progress.done - since.done) / elapsed if elapsed > 0 else 0.0
    amount = write.bytes if progress.unit == "B" else _count
    unit = "" if progress.unit == "B" else f" {safe(progress.unit, 16)}"
    known = progress.total > 0
    facts = [f"{amount(progress.done)}{f' of {amount(progress.total)}' if known else ''}{unit}"]
    if rate > 0:
        facts.append(f"{amount(rate)}/s")
        if known:
            facts.insert(0, f"{write.duration((progress.total - progress.done) / rate)} left")
    what = ACTIVITIES.get(progress.activity, safe(progress.activity, 24))
    return Activity(what, progress.done / progress.total if known else None, tuple(facts))


def _training(state: RunState, last: p.Step, now: float, glyphs: Glyphs) -> Activity:
    planned = planned_steps(state)
    share = last.step / planned if planned else None
    what = f"epoch {last.epoch}/{state.epochs_planned}"
    if state.phases:
        what = f"phase {state.phases[-1].number}/{state.phases[-1].phases}, {what}"
    if state.status is RunStatus.PAUSED:
        return Activity(f"{glyphs.paused} paused in {what}", share, (), "$text-warning")
    left = seconds_left(state)
    facts = (f"{write.duration(left)} left",) if left is not None else ()
    return Activity(what, share, (*facts, *_quiet(state, now), f"{last.images_per_second:,.0f} img/s"))


def _finished(finished: p.RunFinished, glyphs: Glyphs) -> Activity:
    mark, style = {
        "completed": (glyphs.done, "$text-success"),
        "stopped": (glyphs.stopped, "$text-warning"),
        "failed": (glyphs.failed, "$text-error"),
    }[finished.status]
    facts = [f"after {write.duration(finished.seconds)}"]
    best = finished.best_val_accuracy if finished.score == "accuracy" else finished.best_score
    if best is not None:
        score = f"{metric_label(finished.score)} {formatted_score(finished.score, best)}"
        facts.append(f"best val {score} in epoch {finished.best_epoch}")
    if finished.status != "completed" and finished.reason:
        facts.insert(0, safe(finished.reason))
    return Activity(f"{mark} {finished.status}", None, tuple(facts), style)


def _quiet(state: RunState, now: float) -> tuple[str, ...]:
    """Time since the last event, in coarse steps so that the line is rarely redrawn."""
    silence = now - state.time
    if not state.time or silence < QUIET_AFTER:
        return ()
    unit = QUIET_AFTER if silence < 60 else 60
    return (f"no events for {write.duration(silence // unit * unit)}",)


def _count(n: float) -> str:
    return f"{n:,.0f}" if n < 10_000 else write.number(n)
