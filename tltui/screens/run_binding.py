"""Binds a followed run to the layer tree and the settings form: live values, pending changes, answers."""

from __future__ import annotations

from textual.content import Content

from engine.config.data_sources import dataset_label
from engine.config.layer_tree import read_layer_tree
from engine.config.schema import is_live
from engine.errors import InputError
from engine.runs.folder import data_label
from engine.runs.run_status import RunStatus
from tltui.freeze_plan.layer_columns import LayerStats
from tltui.runs.run_follower import RunFollower, SettingReply
from tltui.runs.status import status_mark
from tltui.screens.layers_pane import LayersPane
from tltui.screens.notify_errors import notify_errors
from tltui.settings.draft import FIELDS, SettingsDraft
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.config_form import ConfigForm

RULES = "freeze.rules"
_LIVE = [key for key in FIELDS if is_live(key)]


class RunBinding:
    """Keeps layers pane and form up to date with a run, and sends their changes to it."""

    def __init__(self, following: RunFollower, layers: LayersPane, form: ConfigForm) -> None:
        self._following = following
        self._layers = layers
        self._form = form
        self._has_tree = False
        self._shown_stats: tuple[int, int] | None = None
        self._shown_changes = (0, 0)
        form.load(following.config.model_dump())
        form.set_mode("live")
        layers.show_placeholder("Layers appear once the engine has built the network.")

    def send(self, key: str, value: object) -> None:
        """Send a change of a live setting; it is pending until the engine answers."""
        with notify_errors(self._form):
            self._following.set(key, value)
            self._form.put(key, value)
            self._form.note(key, "sent")
        self._mark_pending()

    def send_plan(self, rules: list[str]) -> None:
        """Send a freeze plan; a finished run keeps its own."""
        if self._following.has_ended:
            self._layers.notify("Run finished; layers are read-only. y: new run from these settings", timeout=3)
            self._layers.show_rules(self._following.state.rules)
            return
        self.send(RULES, rules)
        if not self._following.pending(RULES):
            self._layers.show_rules(self._following.state.rules)

    def show(self) -> None:
        """Show new layers, answers and live values."""
        self._show_tree()
        self._show_layers()
        for answer in self._following.take_replies():
            self._show_answer(answer)
        state = self._following.state
        if (changes := (len(state.answers), len(state.phases))) != self._shown_changes:
            self._shown_changes = changes
            self._show_live_values()
        self._form.set_mode("over" if self._following.has_ended else "live")

    def _show_tree(self) -> None:
        if self._has_tree or not self._following.state.model:
            return
        try:
            tree = read_layer_tree(self._following.folder.model)
        except FileNotFoundError:  # not written yet
            return
        except InputError as error:
            self._layers.show_placeholder(f"Layers can't be loaded: {safe(str(error))}")
        else:
            self._layers.show_model(tree, self._following.state.rules)
            self._layers.show_weights(self._following.state.model.weights)
        self._has_tree = True

    def _show_layers(self) -> None:
        state = self._following.state
        if state.layers is not None and (newest := (state.layers.seq, len(state.epochs))) != self._shown_stats:
            self._shown_stats = newest
            self._layers.show_stats(LayerStats(state, state.layers))

    def _show_answer(self, answer: SettingReply) -> None:
        if answer.refused:
            self._form.note(answer.key, "refused")
            self._layers.notify(answer.refused, title=f"{answer.key} unchanged", severity="warning", markup=False)
        else:
            self._form.note(answer.key, f"since step {answer.step}")

    def _show_live_values(self) -> None:
        """Show live settings as the engine has them, whether a command or a phase changed them."""
        for key in _LIVE:
            if not self._following.pending(key):
                self._form.put(key, self._following.live_value(key))
        if not self._following.pending(RULES):
            try:
                self._layers.show_rules(self._following.state.rules)
            except InputError as error:  # rules of another version
                self._layers.notify(str(error), severity="warning", markup=False)
        self._mark_pending()

    def _mark_pending(self) -> None:
        self._layers.show_pending(self._following.state.rules if self._following.pending(RULES) else None)


def title_of(draft: SettingsDraft, following: RunFollower | None, glyphs: Glyphs) -> tuple[str, Content]:
    """Title and status of a run or draft."""
    dot = f" {glyphs.separator} "
    if following is None:
        label = dataset_label(draft["data.source"], draft["data.path"], draft["data.name"])
        return dot.join(map(safe, (label, draft["model.name"]))), status_mark(RunStatus.DRAFT, glyphs)
    state, config = following.state, following.config
    parts = [data_label(config), config.model.name, *([state.started.device] if state.started else [])]
    right = status_mark(following.status, glyphs)
    if state.epochs_planned and not following.has_ended:
        epoch = min(len(state.epochs) + 1, state.epochs_planned)
        right = Content.assemble(right, f"  epoch {epoch}/{state.epochs_planned}")
    return dot.join(map(safe, parts)), right
