"""The form of a sweep around a draft: search space, sampler, pruner, budget."""

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
from engine.experiments.sweep.presets import PRESETS
from engine.experiments.sweep.samplers import PRUNERS, SAMPLERS
from tltui.settings.sweep_fields import OWN, SweepFields, budget_text, filled
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.choice import Choice
from tltui.widgets.safe_input import SafeInput

_HELP = {"kind": "a preset to start from, or own", "space": "settings with lists of values, or low and high"}
_HELP |= {name: field.description or "" for name, field in SweepFile.model_fields.items() if name not in _HELP}


_PAUSE = 0.1  # seconds without a key press before the space is validated, which may take a second


class SweepForm(ModalScreen[SweepFields | None]):
    """Returns the valid form, or None."""

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
        """``base``: the settings of the draft."""
        super().__init__()
        self._base = base
        preset = filled(next(iter(PRESETS)), base)
        kinds = [(kind, kind) for kind in (*PRESETS, OWN)]
        self._kind = Choice(kinds, preset.kind, glyphs)
        self._sampler = Choice([(one, one) for one in SAMPLERS], preset.sampler, glyphs)
        self._pruner = Choice([(one, one) for one in PRUNERS], preset.pruner, glyphs)
        self._numbers = {
            name: SafeInput(getattr(preset, name), compact=True, select_on_focus=False)
            for name in ("trials", "minutes", "parallel")
        }
        self._space = TextArea(preset.space, compact=True, show_line_numbers=False)

    def compose(self) -> ComposeResult:
        fields: dict[str, Widget] = {
            "kind": self._kind,
            "sampler": self._sampler,
            "pruner": self._pruner,
            **self._numbers,
        }
        with Vertical(classes="dialog -large") as dialog:
            dialog.border_title = Content("Hyperparameter sweep")
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
        self._validate()

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
        """Return the form if it is valid."""
        if isinstance(_sweep_or_problem(self._filled, self._base), Sweep):
            self.dismiss(self._filled)

    @on(Choice.Picked)
    def _picked(self, event: Choice.Picked) -> None:
        if event.choice is self._kind and event.value != OWN:
            preset = filled(event.value, self._base)
            self._sampler.value, self._pruner.value = preset.sampler, preset.pruner
            for name, field in self._numbers.items():
                field.value = getattr(preset, name)
            self._space.text = preset.space
        self._validate()

    @on(Input.Changed)
    def _typed(self) -> None:
        self._validate()

    @on(TextArea.Changed)
    def _written(self) -> None:
        """An edited preset becomes the kind "own"."""
        if self._kind.value != OWN and self._space.text != filled(self._kind.value, self._base).space:
            self._kind.value = OWN
        self._validate()

    @on(Input.Submitted)
    def _entered(self) -> None:
        self.focus_next()

    def on_descendant_focus(self) -> None:
        focused = self.focused.id if self.focused else None
        self.query_one("#help", Static).update(Content(_HELP.get(focused or "", "")))

    @work(exclusive=True, group="validate")
    async def _validate(self) -> None:
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
