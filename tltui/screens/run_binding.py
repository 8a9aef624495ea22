"""What a followed run makes of the layers and of the form: its tree, what waits for the engine, what was answered."""

from __future__ import annotations

from textual.content import Content

from engine.config.data_sources import dataset_label
from engine.config.layer_tree import read_layer_tree
from engine.config.schema import is_live
from engine.errors import InputError
from engine.runs.folder import data_label
from tltui.freeze_plan.layer_columns import LayersAtWork
from tltui.runs.run_follower import RunFollower, SettingReply
from tltui.runs.status import status_mark
from tltui.screens.layers_pane import LayersPane
from tltui.screens.notify_errors import refusals_told
from tltui.settings.draft import FIELDS, SettingsDraft
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.config_form import ConfigForm

RULES = "freeze.rules"
_LIVE = [key for key in FIELDS if is_live(key)]


class RunView:
    """Keeps the layers pane and the form in step with a run."""

    def __init__(self, following: RunFollower, layers: LayersPane, form: ConfigForm) -> None:
        self._following = following
        self._layers = layers
        self._form = form
        self._has_tree = False
        self._looked_at: tuple[int, int] | None = None
        self._heard = (0, 0)
        form.load(following.config.model_dump())
        form.set_mode("live")
        layers.show_placeholder("The layers appear when the engine has built the network.")

    def send(self, key: str, value: object) -> None:
        """Ask the engine for a change, and show that it is not in force yet."""
        with refusals_told(self._form):
            self._following.set(key, value)
            self._form.put(key, value)
            self._form.note(key, "sent")
        self._mark_pending()

    def send_plan(self, rules: list[str]) -> None:
        """Ask the engine for another plan; a run that is over keeps the one it had."""
        if self._following.has_ended:
            self._layers.notify("the run is over: y makes a new one with the same settings", timeout=3)
            self._layers.take_rules(self._following.state.rules)
            return
        self.send(RULES, rules)
        if not self._following.pending(RULES):
            self._layers.take_rules(self._following.state.rules)

    def show(self) -> None:
        """Show what is new."""
        self._show_tree()
        self._show_layers()
        for answer in self._following.take_replies():
            self._show_answer(answer)
        state = self._following.state
        if (heard := (len(state.answers), len(state.phases))) != self._heard:
            self._heard = heard
            self._take_live_values()
        self._form.set_mode("over" if self._following.has_ended else "live")

    def _show_tree(self) -> None:
        if self._has_tree or not self._following.state.model:
            return
        try:
            tree = read_layer_tree(self._following.folder.model)
        except FileNotFoundError:  # not written yet
            return
        except InputError as error:
            self._layers.show_placeholder(f"The layers can't be shown: {safe(str(error))}")
        else:
            self._layers.show_model(tree, self._following.state.rules)
        self._has_tree = True

    def _show_layers(self) -> None:
        state = self._following.state
        if state.layers is not None and (newest := (state.layers.seq, len(state.epochs))) != self._looked_at:
            self._looked_at = newest
            self._layers.show_at_work(LayersAtWork(state, state.layers))

    def _show_answer(self, answer: SettingReply) -> None:
        if answer.refused:
            self._form.note(answer.key, "refused")
            self._layers.notify(answer.refused, title=f"{answer.key} stays", severity="warning", markup=False)
        else:
            self._form.note(answer.key, f"since step {answer.step}")

    def _take_live_values(self) -> None:
        """Whoever changed it, a command from here or from elsewhere or a phase: what is in force is shown."""
        for key in _LIVE:
            if not self._following.pending(key):
                self._form.put(key, self._following.live_value(key))
        if not self._following.pending(RULES):
            try:
                self._layers.take_rules(self._following.state.rules)
            except InputError as error:  # rules of another version's making
                self._layers.notify(str(error), severity="warning", markup=False)
        self._mark_pending()

    def _mark_pending(self) -> None:
        self._layers.show_pending(self._following.state.rules if self._following.pending(RULES) else None)


def title_of(draft: SettingsDraft, following: RunFollower | None, glyphs: Glyphs) -> tuple[str, Content]:
    """What a run is called, and how it stands."""
    dot = f" {glyphs.separator} "
    if following is None:
        label = dataset_label(draft["data.source"], draft["data.path"], draft["data.name"])
        return dot.join(map(safe, (label, draft["model.name"]))), status_mark("draft", glyphs)
    state, config = following.state, following.config
    parts = [data_label(config), config.model.name, *([state.started.device] if state.started else [])]
    right = status_mark(following.status, glyphs)
    if state.epochs_planned and not following.has_ended:
        epoch = min(len(state.epochs) + 1, state.epochs_planned)
        right = Content.assemble(right, f"  epoch {epoch}/{state.epochs_planned}")
    return dot.join(map(safe, parts)), right
