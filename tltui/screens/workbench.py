"""The screen of one run or draft: layer tree, settings, curves, evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen

from engine.errors import InputError
from tltui.engine_client.queries import EngineQueries
from tltui.runs.run_follower import RunFollower
from tltui.screens.draft_actions import DraftActions
from tltui.screens.evaluate_pane import EvaluatePane
from tltui.screens.layers_pane import LayersPane
from tltui.screens.messages import CopySettings, LeaveWorkbench, StartRun
from tltui.screens.panes import Panes
from tltui.screens.plan_costs import PlanCosts
from tltui.screens.run_actions import RUN_ONLY, RunActions
from tltui.screens.run_binding import RULES, title_of
from tltui.screens.run_display import RunDisplay, RunWidgets
from tltui.screens.run_images import RunImages
from tltui.screens.setup_pane import ASSUMED_CLASSES, SetupPane
from tltui.screens.train_pane import TrainPane
from tltui.text.glyphs import Glyphs
from tltui.widgets.config_form import ConfigForm
from tltui.widgets.confusion import Confusion
from tltui.widgets.finding_line import FindingLine
from tltui.widgets.image_view import Kind
from tltui.widgets.key_line import KeyLine
from tltui.widgets.parameter_counter import ParameterCounter
from tltui.widgets.progress_line import ProgressLine
from tltui.widgets.title_line import TitleLine


class Workbench(Screen[None]):
    """Shows a draft until it runs, or a run that is followed."""

    manual_topic = "training"

    CSS_PATH = "workbench.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 (Textual declares them as instance variables)
    VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-high")]  # noqa: RUF012

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r,f9", "run", "run / resume", id="workbench.run"),
        Binding("p", "pause", "pause / resume", id="workbench.pause"),
        Binding("s", "stop", "stop with a checkpoint", id="workbench.stop"),
        Binding("k", "checkpoint", "write a checkpoint", id="workbench.checkpoint"),
        Binding("d", "leave", "back to runs; training continues", id="workbench.leave"),
        Binding("w", "save", "save settings as run.toml", id="workbench.save"),
        Binding("o", "load", "load settings from run.toml", id="workbench.load"),
        Binding("i", "copy_from", "copy settings from another run", id="workbench.copy_from"),
        Binding("T", "next_task", "next task: classes, labels, ranks or numbers", id="workbench.task"),
        Binding("j", "choose_recipe", "choose a recipe of training phases", id="workbench.recipe"),
        Binding("l", "experiment('rates')", "find learning rates (range test)", id="workbench.rates"),
        Binding("g", "experiment('probe')", "linear probe: how deep to unfreeze", id="workbench.probe"),
        Binding("x", "folds", "cross-validation of this draft", id="workbench.folds"),
        Binding("v", "sweep", "hyperparameter sweep around this draft", id="workbench.sweep"),
        Binding("y", "copy", "new run from these settings", id="workbench.copy"),
        Binding("f2", "show_layers", "layers", id="workbench.layers"),
        Binding("f3", "show_tab('setup')", "settings", id="workbench.setup"),
        Binding("f4", "show_tab('train')", "curves", id="workbench.train"),
        Binding("f5", "show_tab('evaluate')", "evaluation", id="workbench.evaluate"),
        Binding("exclamation_mark", "recommendation", "apply the recommendation", id="workbench.advice"),
        Binding("b", "browse", "browse images of a class", id="workbench.browse"),
        Binding("right_square_bracket", "next_tab(1)", "next tab", id="workbench.next_tab"),
        Binding("left_square_bracket", "next_tab(-1)", "previous tab", id="workbench.previous_tab"),
        Binding("tab", "next", "next field or pane", id="workbench.next", show=False),
    ]

    def __init__(
        self,
        tables: Mapping[str, Mapping[str, Any]],
        following: RunFollower | None,
        queries: EngineQueries,
        runs_dir: Path,
        glyphs: Glyphs,
        marker: str,
        images: Kind | None,
    ) -> None:
        """``runs_dir``: of earlier runs; ``marker``: as in ``Curves``; ``images``: as in ``ImageView``."""
        super().__init__()
        self.following = following
        self._image_kind: Kind | None = images
        self._glyphs = glyphs
        self._layers = LayersPane(queries, glyphs)
        self._setup = SetupPane(tables, queries, "live" if following else "draft", glyphs)
        self._train = TrainPane(glyphs, marker)
        self._evaluate = EvaluatePane(glyphs, marker)
        tabs = {"setup": self._setup, "train": self._train, "evaluate": self._evaluate}
        self._panes = Panes(self._layers, tabs, "train" if following else "setup", glyphs)
        self._counter = ParameterCounter(glyphs)
        self._progress = ProgressLine(glyphs=glyphs)
        self._progress.display = following is not None
        self._title = TitleLine()
        self._finding = FindingLine()
        self._costs = PlanCosts(self, queries, self._layers, self._setup, self._counter)
        self._draft = DraftActions(self, self._setup, self._costs, self._panes.show_form, runs_dir, glyphs, marker)
        self._display: RunDisplay | None = None
        self._run: RunActions | None = None
        self._images: RunImages | None = None

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._panes
        yield self._finding
        with Container(id="status"):
            yield self._counter
            yield self._progress
        yield KeyLine()

    def on_mount(self) -> None:
        if self.following:
            self.follow(self.following)
        self._show_title()
        self._layers.focus()

    async def on_unmount(self) -> None:
        if self._images is not None:
            await self._images.close()

    # The draft

    def load_settings(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace all settings of the draft."""
        self._setup.replace_all(tables)

    def focus_setting(self, key: str) -> None:
        """Show the form with the cursor on a setting."""
        self._panes.show_form(lambda: self._setup.form.focus_setting(key))

    @on(SetupPane.TreeChanged)
    def _load_tree(self, event: SetupPane.TreeChanged) -> None:
        assumed = self._setup.classes_found is None
        self._layers.show_note(f"{ASSUMED_CLASSES} classes assumed" if assumed else "")
        if self.following is None:
            self._layers.load(event.tree, self._setup.form.draft[RULES])
        self._show_title()

    @on(SetupPane.RulesEdited)
    def _show_edited_rules(self, event: SetupPane.RulesEdited) -> None:
        self._show_rules(event.rules)
        self._update_costs()

    def _show_rules(self, rules: list[str]) -> bool:
        """Show a plan in the tree; False: it does not fit, and the form shows why."""
        try:
            self._layers.show_rules(rules)
        except InputError as error:
            self._setup.form.note(RULES, str(error))
            return False
        self._setup.form.note(RULES, "")
        return True

    @on(LayersPane.Loaded)
    def _tree_loaded(self, event: LayersPane.Loaded) -> None:
        # the plan of the draft may have changed while the tree was loaded
        fits = self.following is None and self._show_rules(self._setup.form.draft[RULES])
        if event.refused and not fits and self._layers.editor is not None:
            self._setup.put_rules(self._layers.editor.rules)
            message = f"{event.refused}. Plan is now: head only"
            self.notify(message, title="Freeze plan does not fit", markup=False)
        self.refresh_bindings()
        self._update_costs()

    @on(LayersPane.PlanEdited)
    def _plan_edited(self, event: LayersPane.PlanEdited) -> None:
        if self._display is None:
            self._setup.put_rules(event.rules)
        else:
            self._display.binding.send_plan(event.rules)
        self._update_costs()

    @on(SetupPane.CostsChanged)
    def _update_costs(self) -> None:
        """Show parameter counts, memory and cost forecast of the plan, and where a draft's weights come from."""
        self._show_title()
        if self.following is None:
            self._layers.show_weights(self._setup.form.draft["model.weights"])
        self._costs.update(self.following.state if self.following else None)

    # The run

    def follow(self, following: RunFollower) -> None:
        """Show a run in place of the draft."""
        self.following = following
        self._costs.cancel()  # profiling would slow training down
        self._progress.display = True
        self._images = RunImages(self, following, lambda: self._layers.cursor_path, self._glyphs, self._image_kind)
        widgets = RunWidgets(self._layers, self._setup.form, self._train, self._evaluate, self._progress, self._finding)
        self._display = RunDisplay(self, following, widgets, self._run_changed)
        self._run = RunActions(self, self._display)
        self._panes.switch_to("train")
        self._display.poll()
        if not following.has_backlog:
            self._display.draw()
        self._show_title()
        self.refresh_bindings()
        self.call_after_refresh(self._panes.show_if_narrow, "train")

    def _run_changed(self) -> None:
        self._update_costs()
        self.refresh_bindings()

    def _show_title(self) -> None:
        self._title.show(*title_of(self._setup.form.draft, self.following, self._glyphs))

    @on(ConfigForm.Sent)
    def _setting_sent(self, event: ConfigForm.Sent) -> None:
        if self._display is not None:
            self._display.binding.send(event.key, event.value)

    @on(Confusion.CellChosen)
    def _show_cell(self, event: Confusion.CellChosen) -> None:
        if self._images is not None:
            self._images.show_cell(event.true, event.predicted)

    @on(EvaluatePane.MisclassifiedRequested)
    def _show_misclassified(self, event: EvaluatePane.MisclassifiedRequested) -> None:
        if self._images is not None:
            self._images.show_misclassified(event.classes)

    # Actions, described by their bindings

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether the draft or the run allows an action."""
        return self._run.is_possible(action) if self._run else action not in RUN_ONLY

    def action_run(self) -> None:
        if self._run is not None:
            self._run.resume()
        elif (config := self._draft.config()) is not None:
            self.post_message(StartRun(config, self))

    @work
    async def action_experiment(self, which: str) -> None:
        await self._draft.run_experiment(which)

    @work
    async def action_folds(self) -> None:
        await self._draft.start_folds()

    @work
    async def action_sweep(self) -> None:
        await self._draft.start_sweep()

    def action_pause(self) -> None:
        if self._run is not None:
            self._run.pause_or_resume()

    @work
    async def action_stop(self) -> None:
        if self._run is not None:
            await self._run.stop()

    def action_checkpoint(self) -> None:
        if self._run is not None:
            self._run.save_checkpoint()

    @work
    async def action_recommendation(self) -> None:
        if self._run is not None:
            await self._run.apply_recommendation()

    def action_browse(self) -> None:
        if self._images is not None:
            self._images.browse()

    def action_copy(self) -> None:
        if self._run is not None:
            self._run.copy()

    def action_leave(self) -> None:
        self.post_message(LeaveWorkbench(None if self.following else self._setup.form.draft.tables))

    def action_save(self) -> None:
        self._setup.save(self.following.config_for_new_run if self.following else None)

    def action_load(self) -> None:
        self._setup.load_file()

    def action_next_task(self) -> None:
        self._setup.next_task()

    def action_choose_recipe(self) -> None:
        self._setup.choose_recipe()

    def action_copy_from(self) -> None:
        self.post_message(CopySettings(self))

    # Panes and tabs

    def action_show_layers(self) -> None:
        self._panes.show_layers()

    def action_show_tab(self, tab: str) -> None:
        self._panes.show_tab(tab)
        if self._display is not None:
            self._display.draw()

    def action_next_tab(self, by: int) -> None:
        self.action_show_tab(self._panes.after(by))

    def action_next(self) -> None:
        self._panes.focus_next()
