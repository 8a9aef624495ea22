"""A run as plain text: lines that stay, and a progress bar on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from engine.evaluation.metrics import formatted_score, metric_label
from engine.runs import commands
from engine.runs import events as p
from engine.runs.folder import RunFolder
from engine.runs.json_floats import decode_float
from engine.runs.state import RunState, fold
from engine.runs.weights_text import weights_text
from tltui.tables.activities import ACTIVITIES
from tltui.tables.dataset import contents_line
from tltui.tables.evaluation import evaluation, frozen_line
from tltui.tables.targets import targets
from tltui.text.glyphs import safe
from tltui.text.numbers import bytes as bytes_text
from tltui.text.numbers import duration, number


class PlainProgress:
    """Prints a run's events for people; use as a context manager around the run."""

    def __init__(self, console: Console, folder: RunFolder) -> None:
        self._console = console
        self._folder = folder
        self._state = RunState()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[extra]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("starting the worker", total=None, extra="")
        self._activity = ""

    def __enter__(self) -> PlainProgress:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bar.stop()

    def show(self, event: p.AnyEvent) -> None:
        """Print what ``event`` says, if anything, and move the bar."""
        state = fold(self._state, event)
        match event:
            case p.RunStarted():
                self.__enter__()  # a resumed run starts the bar again
                together = f", {event.processes} processes" if event.processes > 1 else ""
                self._line(f"run {event.run} on {event.device} ({event.device_name}), {event.precision}{together}")
            case p.Progress():
                activity = ACTIVITIES.get(event.activity, safe(event.activity, 20))
                self._move(activity, event.done, event.total, _amount(event))
            case p.DataReady():
                self._data(event)
            case p.ModelReady():
                counts = event.parameters
                self._line(
                    f"model {event.name}: {number(counts.total)} parameters, {number(counts.trainable)} trainable, "
                    f"{number(counts.frozen)} frozen; weights {event.weights.source}"
                )
                if details := weights_text(event.weights):
                    self._line(f"weights: {details}")
            case p.Step():
                self._step(event)
            case p.Epoch():
                self._epoch(event)
            case p.RunFinished():
                self._finish(event, state)
            case _:
                self._note(event)

    def _note(self, event: p.AnyEvent) -> None:
        match event:
            case p.Phase():
                trained = f"{number(event.parameters.trainable)} trainable parameters at lr {event.lr:g}"
                epochs = "1 epoch" if event.epochs == 1 else f"{event.epochs} epochs"
                rules = ", ".join(event.rules) or "everything is trainable"
                self._line(f"phase {event.number}/{event.phases}, {epochs}: {trained}; {rules}")
            case p.CommandApplied():
                self._line(f"step {event.step}: {describe(event.command)}")
            case p.CommandRejected():
                self._line(f"rejected: {event.reason}", "yellow")
            case p.Resumed():
                self._line(f"resumed after step {event.step}, {event.epoch} epochs done")
            case p.Warning():
                self._line(f"warning: {event.message}", "yellow")
            case _:
                pass

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(safe(text), style=style), soft_wrap=True)

    def _move(self, activity: str, done: float, total: float, extra: str) -> None:
        if activity != self._activity:  # a new task forgets the speed of the last
            self._activity = activity
            self._bar.remove_task(self._task)
            self._task = self._bar.add_task(activity, total=total or None, extra=extra)
        self._bar.update(self._task, description=activity, completed=done, total=total or None, extra=extra)

    def _data(self, event: p.DataReady) -> None:
        counts = ", ".join(f"{count:,} {split}" for split, count in event.counts.items())
        self._line(f"data {sum(event.counts.values()):,} images of {targets(event)}: {counts}")
        if event.scan:
            self._line(contents_line(event.scan))
        if event.skipped:
            first = event.skipped[0]
            self._line(f"skipped {len(event.skipped)} unreadable files, e.g. {first.path} ({first.reason})", "yellow")

    def _step(self, event: p.Step) -> None:
        if self._state.model is None:  # no log of ours
            return
        done = event.step / self._state.model.steps_per_epoch
        loss = decode_float(event.loss, event.nonfinite)
        extra = (
            f"epoch {event.epoch}/{self._state.epochs_planned}  loss {loss:.3f}  {event.images_per_second:.0f} img/s"
        )
        self._move("training", done, self._state.epochs_planned, extra)

    def _epoch(self, event: p.Epoch) -> None:
        train, val = decode_float(event.train_loss, event.nonfinite), decode_float(event.val_loss, event.nonfinite)
        best = "  best so far" if self._state.best is event else ""
        curve = self._state.curve
        measured = formatted_score(curve, event.train_metric(curve)), formatted_score(event.score, event.val_score)
        if event.score != "accuracy":
            measured = f"{metric_label(curve)} {measured[0]}", f"{metric_label(event.score)} {measured[1]}"
        self._line(
            f"epoch {event.epoch:>3}/{self._state.epochs_planned}  train {train:.4f} {measured[0]:>6}  "
            f"val {val:.4f} {measured[1]:>6}  {event.seconds:.1f} s{best}"
        )

    def _finish(self, event: p.RunFinished, state: RunState) -> None:
        self._bar.stop()
        for evaluated in state.evaluations.values():
            self._console.print(evaluation(evaluated, state.baselines))
        if state.model:
            self._line(frozen_line(event.frozen))
        style = {"completed": "green", "stopped": "yellow", "failed": "red"}[event.status]
        self._line(f"{event.status} in {duration(event.seconds)}: {event.reason}", style)
        if "best" in state.checkpoints:
            self._line(f"best weights (epoch {event.best_epoch}): {self._folder.checkpoints / 'best'}")


def describe(command: commands.AnyCommand) -> str:
    """What a command does, as text."""
    match command:
        case commands.Set(key=key, value=value):
            return f"{key} = {value}"
        case commands.Pause():
            return "paused"
        case commands.Resume():
            return "resumed"
        case commands.Stop():
            return "stopping"
        case commands.SaveCheckpoint():
            return "checkpoint"


def _amount(event: p.Progress) -> str:
    if event.unit == "B":
        return f"{bytes_text(event.done)} of {bytes_text(event.total)}" if event.total else bytes_text(event.done)
    return f"{event.done:,}/{event.total:,} {safe(event.unit, 20)}"
