"""The form of a sweep: what varies around a draft, how it is tried, and for how long."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.experiments.sweep.definition import Sweep, SweepFile
from engine.experiments.sweep.presets import READY
from engine.experiments.sweep.samplers import PRUNERS, SAMPLERS
from tltui.settings.sweep_fields import OWN, SweepFields, budget_text, filled
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.choice import Choice
from tltui.widgets.safe_input import SafeInput

_HELP = {"kind": "ready-made ones to begin with", "space": "settings with lists of values, or low and high"}
_HELP |= {name: field.description or "" for name, field in SweepFile.model_fields.items() if name not in _HELP}


_PAUSE = 0.1  # seconds without a key press before a large space, which takes a second, is checked


class SweepForm(ModalScreen[SweepFields | None]):
    """Gives what was filled in, checked, or None."""

    manual_topic = "experiments"

    CSS_PATH = "../widgets/dialogs.tcss"
    DEFAULT_CSS = """
    SweepForm .row { height: 1; }
    SweepForm .row > .label { width: 10; color: $text-muted; }
    SweepForm Input { width: 12; background: $foreground 6%; }
    SweepForm Input:focus { background: $primary 20%; }
    SweepForm TextArea { height: 1fr; margin: 1 0 0 0; border: none; padding: 0 1; background: $foreground 6%; }
    SweepForm #help { height: 2; color: $text-muted; margin: 1 0 0 0; }
    SweepForm #verdict { height: 2; }
    SweepForm #verdict.-problem { color: $text-error; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f9", "start", "start the sweep", id="sweep_form.start", priority=True),
        Binding("up", "app.focus_previous", "previous field", id="sweep_form.previous", show=False),
        Binding("down", "app.focus_next", "next field", id="sweep_form.next", show=False),
        Binding("escape", "dismiss(None)", "cancel", id="sweep_form.cancel"),
    ]

    def __init__(self, base: RunConfig, glyphs: Glyphs) -> None:
        """``base``: the draft that is varied."""
        super().__init__()
        self._base = base
        begin = filled(next(iter(READY)), base)
        kinds = [(kind, kind) for kind in (*READY, OWN)]
        self._kind = Choice(kinds, begin.kind, glyphs)
        self._sampler = Choice([(one, one) for one in SAMPLERS], begin.sampler, glyphs)
        self._pruner = Choice([(one, one) for one in PRUNERS], begin.pruner, glyphs)
        self._numbers = {
            name: SafeInput(getattr(begin, name), compact=True, select_on_focus=False)
            for name in ("trials", "minutes", "parallel")
        }
        self._space = TextArea(begin.space, compact=True, show_line_numbers=False)

    def compose(self) -> ComposeResult:
        fields: dict[str, Widget] = {
            "kind": self._kind,
            "sampler": self._sampler,
            "pruner": self._pruner,
            **self._numbers,
        }
        with Vertical(classes="dialog -large") as dialog:
            dialog.border_title = Content("Try many settings")
            for name, field in fields.items():
                field.id = name
                with Horizontal(classes="row"):
                    yield Static(Content(name), classes="label")
                    yield field
            self._space.id = "space"
            yield self._space
            yield Static(id="help")
            yield Static(id="verdict")
            yield Static("F9 start  tab next field  esc cancel", classes="keys")

    def on_mount(self) -> None:
        self._judge()

    @property
    def _filled(self) -> SweepFields:
        numbers = {name: field.value.strip() for name, field in self._numbers.items()}
        return SweepFields(
            kind=self._kind.value,
            sampler=self._sampler.value,
            pruner=self._pruner.value,
            space=self._space.text,
            **numbers,
        )

    def action_start(self) -> None:
        """Give what was filled in, unless something is wrong with it."""
        if isinstance(_sweep_or_problem(self._filled, self._base), Sweep):
            self.dismiss(self._filled)

    @on(Choice.Picked)
    def _picked(self, event: Choice.Picked) -> None:
        if event.choice is self._kind and event.value != OWN:
            begin = filled(event.value, self._base)
            self._sampler.value, self._pruner.value = begin.sampler, begin.pruner
            for name, field in self._numbers.items():
                field.value = getattr(begin, name)
            self._space.text = begin.space
        self._judge()

    @on(Input.Changed)
    def _typed(self) -> None:
        self._judge()

    @on(TextArea.Changed)
    def _written(self) -> None:
        """What is no longer as the ready-made sweep has it is one's own."""
        if self._kind.value != OWN and self._space.text != filled(self._kind.value, self._base).space:
            self._kind.value = OWN
        self._judge()

    @on(Input.Submitted)
    def _entered(self) -> None:
        self.focus_next()

    def on_descendant_focus(self) -> None:
        focused = self.focused.id if self.focused else None
        self.query_one("#help", Static).update(Content(_HELP.get(focused or "", "")))

    @work(exclusive=True, group="judge")
    async def _judge(self) -> None:
        await asyncio.sleep(_PAUSE)
        found = await asyncio.to_thread(_sweep_or_problem, self._filled, self._base)
        verdict = self.query_one("#verdict", Static)
        verdict.set_class(isinstance(found, str), "-problem")
        verdict.update(Content(safe(found, 300) if isinstance(found, str) else f"{budget_text(found)}, each a run"))


def _sweep_or_problem(filled: SweepFields, base: RunConfig) -> Sweep | str:
    try:
        return filled.sweep(base)
    except InputError as error:
        return str(error)
