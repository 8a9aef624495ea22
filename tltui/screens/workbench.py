"""One run: its layers and its settings, before it starts, while it trains and afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.screen import Screen
from textual.worker import get_current_worker

from engine.config.schema import RunConfig
from engine.costs.estimate import Profile, estimate
from engine.errors import InputError
from tltui.engine_client.queries import EngineQueries, ProfileKey
from tltui.runs.run_follower import RunFollower
from tltui.runs.status import RESUMABLE, is_alive
from tltui.screens.advice import Advice
from tltui.screens.dialogs import Confirm
from tltui.screens.evaluate_pane import EvaluatePane
from tltui.screens.experiment import ExperimentDialog
from tltui.screens.layers_pane import LayersPane
from tltui.screens.linear_probe import Probe
from tltui.screens.lr_finder import RangeTest
from tltui.screens.messages import DraftWanted, RunWanted, SettingsWanted, SweepWanted, WorkbenchLeft
from tltui.screens.notify_errors import refusals_told
from tltui.screens.panes import Panes
from tltui.screens.run_binding import RULES, RunView, title_of
from tltui.screens.run_images import RunImages
from tltui.screens.setup_pane import ASSUMED_CLASSES, SetupPane
from tltui.screens.train_pane import TrainPane
from tltui.text.glyphs import Glyphs
from tltui.widgets.config_form import ConfigForm
from tltui.widgets.confusion import Confusion
from tltui.widgets.finding_line import FindingLine
from tltui.widgets.image_folder import expected_splits
from tltui.widgets.image_view import Kind
from tltui.widgets.key_line import KeyLine
from tltui.widgets.parameter_counter import ParameterCounter
from tltui.widgets.progress_line import ProgressLine
from tltui.widgets.title_line import TitleLine

# Looks at the run a second. Where nothing is new, nothing is drawn.
_LOOKS = 4

# Seconds between two parts of a long log.
_BETWEEN_SLICES = 0.001

# Seconds without a change of settings after which a draft's network is measured.
_IDLE = 1.0


class Workbench(Screen[None]):
    """Shows either a draft that can be run, or a run that is followed."""

    manual_topic = "training"

    CSS_PATH = "workbench.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 (Textual declares them as instance variables)
    VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-high")]  # noqa: RUF012

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r,f9", "run", "run with these settings, or go on with a run", id="workbench.run"),
        Binding("p", "pause", "pause, or resume", id="workbench.pause"),
        Binding("s", "stop", "stop, with a checkpoint", id="workbench.stop"),
        Binding("k", "checkpoint", "write a checkpoint now", id="workbench.checkpoint"),
        Binding("d", "leave", "back to your runs; training goes on", id="workbench.leave"),
        Binding("w", "save", "save the settings as run.toml", id="workbench.save"),
        Binding("o", "load", "load settings from a run.toml", id="workbench.load"),
        Binding("i", "copy_from", "take the settings of another run", id="workbench.copy_from"),
        Binding("j", "choose_recipe", "choose a recipe: training in phases", id="workbench.recipe"),
        Binding("l", "experiment('rates')", "find learning rates by a range test", id="workbench.rates"),
        Binding("g", "experiment('probe')", "how deep to unfreeze: probe every depth", id="workbench.probe"),
        Binding("v", "sweep", "try many settings around these: a sweep", id="workbench.sweep"),
        Binding("y", "copy", "a new run with these settings", id="workbench.copy"),
        Binding("f2", "show_layers", "show the layers", id="workbench.layers"),
        Binding("f3", "show_tab('setup')", "show the settings", id="workbench.setup"),
        Binding("f4", "show_tab('train')", "show the curves", id="workbench.train"),
        Binding("f5", "show_tab('evaluate')", "show the evaluation", id="workbench.evaluate"),
        Binding("exclamation_mark", "advice", "do what helps against what stands out", id="workbench.advice"),
        Binding("b", "browse", "look through the images of a class", id="workbench.browse"),
        Binding("right_square_bracket", "next_tab(1)", "next tab", id="workbench.next_tab"),
        Binding("left_square_bracket", "next_tab(-1)", "previous tab", id="workbench.previous_tab"),
        Binding("tab", "next", "next field or pane", id="workbench.next", show=False),
    ]

    def __init__(
        self,
        tables: Mapping[str, Mapping[str, Any]],
        following: RunFollower | None,
        queries: EngineQueries,
        glyphs: Glyphs,
        marker: str,
        images: Kind | None,
    ) -> None:
        """``marker``: as ``Curves`` takes it, ``images`` as ``ImageView``."""
        super().__init__()
        self._kind_of_images: Kind | None = images
        self.following = following
        self._view: RunView | None = None
        self._slice_is_due = False
        self._images: RunImages | None = None
        self._advice: Advice | None = None
        self._queries = queries
        self._profile: tuple[ProfileKey, Profile] | None = None
        self._glyphs = glyphs
        self._marker = marker
        self._layers = LayersPane(queries, glyphs)
        self._setup = SetupPane(tables, queries, "live" if following else "draft", glyphs)
        self._train = TrainPane(glyphs, marker)
        self._evaluate = EvaluatePane(glyphs)
        tabs = {"setup": self._setup, "train": self._train, "evaluate": self._evaluate}
        self._panes = Panes(self._layers, tabs, "train" if following else "setup", glyphs)
        self._counter = ParameterCounter(glyphs)
        self._progress = ProgressLine(glyphs=glyphs)
        self._progress.display = following is not None
        self._title = TitleLine()
        self._finding = FindingLine()

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._panes
        yield self._finding
        with Container(id="status"):
            yield self._counter
            yield self._progress
        yield KeyLine()

    def on_mount(self) -> None:
        self.set_interval(1 / _LOOKS, self._look)
        if self.following:
            self.follow(self.following)
        self._show_title()
        self._layers.focus_tree()

    # The draft

    def take_settings(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over the settings of another run."""
        self._setup.replace_all(tables)

    def open_setup(self, key: str) -> None:
        """Go to a setting."""
        self._open_form(lambda: self._setup.form.focus_setting(key))

    @on(SetupPane.TreeWanted)
    def _tree_wanted(self, event: SetupPane.TreeWanted) -> None:
        assumed = self._setup.classes_found is None
        self._layers.border_subtitle = Content(f"{ASSUMED_CLASSES} classes assumed" if assumed else "")
        if self.following is None:
            self._layers.want(event.wanted, self._setup.form.draft[RULES])
        self._show_title()

    @on(SetupPane.RulesTyped)
    def _rules_typed(self, event: SetupPane.RulesTyped) -> None:
        self._show_rules(event.rules)
        self._count()

    def _show_rules(self, rules: list[str]) -> bool:
        """Show a plan in the tree; False: it does not fit, and the reason stands beside the setting."""
        try:
            self._layers.take_rules(rules)
        except InputError as error:
            self._setup.form.note(RULES, str(error))
            return False
        self._setup.form.note(RULES, "")
        return True

    @on(SetupPane.CountsMatter)
    def _count(self) -> None:
        self._show_title()
        if (editor := self._layers.editor) is None:
            return
        draft, state = self._setup.form.draft, self.following.state if self.following else None
        precision = state.started.precision if state and state.started else draft["train.precision"]
        momentum = draft["optimizer.momentum"] if not draft.problem("optimizer.momentum") else 0.0
        memory = editor.memory(draft["optimizer.name"], precision, momentum)
        cached, boundary = (state.cached, state.boundary) if state else (0, None)
        self._counter.show(editor.counts, memory, cached, boundary)
        self._estimate()

    def _estimate(self) -> None:
        """Say what the plan will cost, once the network has been measured; measure it while there is a draft."""
        wanted = self._setup.profile_wanted
        if self._profile and self._profile[0] == wanted:
            self._reckon(self._profile[1])
            return
        if self.following is None:
            self._counter.show_estimate(None)
            self._measure(wanted)

    @work(exclusive=True, group="profile", exit_on_error=False)
    async def _measure(self, wanted: ProfileKey) -> None:
        await asyncio.sleep(_IDLE)
        try:
            self._profile = wanted, await self._queries.profile(wanted)
        except InputError:  # an estimate is a courtesy: what is wrong is said where it matters
            return
        self._estimate()

    @work(thread=True, exclusive=True, group="reckon", exit_on_error=False)
    def _reckon(self, profile: Profile) -> None:
        worker, editor, state = get_current_worker(), self._layers.editor, self.following and self.following.state
        found = self._setup.images_found
        try:
            config = self._setup.form.config()
            images = state.data.counts if state and state.data else found and expected_splits(found, config.data)
            cost = estimate(profile, editor.tree, config, images) if editor and images else None
        except InputError:  # a draft that can't be run yet costs nothing yet
            cost = None
        if not worker.is_cancelled:
            self.app.call_from_thread(self._counter.show_estimate, cost)

    @on(LayersPane.Loaded)
    def _tree_loaded(self, event: LayersPane.Loaded) -> None:
        # the settings may have got another plan, together with another network, since these layers were asked for
        fits = self.following is None and self._show_rules(self._setup.form.draft[RULES])
        if event.refused and not fits and self._layers.editor is not None:
            self._setup.put_rules(self._layers.editor.rules)
            self.notify(f"{event.refused}. Now the head alone trains.", title="The plan did not fit", markup=False)
        self.refresh_bindings()
        self._count()

    @on(LayersPane.PlanEdited)
    def _plan_edited(self, event: LayersPane.PlanEdited) -> None:
        if self.following is None:
            self._setup.put_rules(event.rules)
        elif self._view is not None:
            self._view.send_plan(event.rules)
        self._count()

    # The run

    def follow(self, following: RunFollower) -> None:
        """Show a run from now on."""
        self.following = following
        self.workers.cancel_group(self, "profile")  # measuring would take from training
        self._progress.display = True
        self._images = RunImages(self, following, lambda: self._layers.cursor_path, self._glyphs, self._kind_of_images)
        self._follow_log()
        self._panes.switch_to("train")
        self._look()
        if not following.has_backlog:
            self._draw()
        self._show_title()
        self.refresh_bindings()
        self.call_after_refresh(self._turn_to_curves)

    def _follow_log(self) -> None:
        """Begin to show what the log tells, from its first event."""
        if self.following is not None:
            self._view = RunView(self.following, self._layers, self._setup.form)
            self._advice = Advice(self.following, self._finding)

    def _turn_to_curves(self) -> None:
        """Where there is room for one pane, that of a run is its curves."""
        if self.has_class("-narrow"):
            self.action_show_tab("train")

    @on(ConfigForm.Sent)
    def _setting_sent(self, event: ConfigForm.Sent) -> None:
        if self._view is not None:
            self._view.send(event.key, event.value)

    @on(Confusion.CellChosen)
    def _images_wanted(self, event: Confusion.CellChosen) -> None:
        if self._images is not None:
            self._images.of_cell(event.true, event.predicted)

    @on(EvaluatePane.MistakesWanted)
    def _mistakes_wanted(self, event: EvaluatePane.MistakesWanted) -> None:
        if self._images is not None:
            self._images.mistakes(event.classes)

    def action_browse(self) -> None:
        """Look through the images of a class."""
        if self._images is not None:
            self._images.browse()

    async def on_unmount(self) -> None:
        if self._images is not None:
            await self._images.close()

    def _look(self) -> None:
        if self.following is None or self._view is None or self._slice_is_due or self.app.screen is not self:
            return
        before = self.following.state
        changed = self.following.poll_batch()
        if self.following.state is not before:
            self._follow_log()
        if self.following.has_backlog:
            self._progress.show_reading(self.following.state.seq)
            self._slice_is_due = True
            self.set_timer(_BETWEEN_SLICES, self._read_on)
            return
        self._progress.show(self.following.state, time.time())
        if changed:
            self._view.show()
            self._count()
            self._draw()
            self.refresh_bindings()

    def _read_on(self) -> None:
        """The next part of a long log; in between keys are answered and the screen is drawn."""
        self._slice_is_due = False
        self._look()

    def _draw(self) -> None:
        if self.following is not None:
            self._train.show(self.following.state)
            self._evaluate.show(self.following.state)
        if self._advice is not None:
            self._advice.show()

    def _show_title(self) -> None:
        draft = self._setup.form.draft
        self._title.show(*title_of(draft, self.following, self._glyphs))

    # What the user does

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Steering where there is something to steer, editing where there is a draft."""
        if action == "browse":
            return self.following is not None and self.following.state.data is not None
        if action == "advice":
            return self._advice is not None and self._advice.remedy is not None
        if action in ("pause", "stop", "checkpoint"):
            return self.following is not None and not self.following.has_backlog and is_alive(self.following.status)
        if action == "run":
            return self.following is None or self.following.status in RESUMABLE
        if action in ("load", "copy_from", "choose_recipe", "experiment", "sweep"):
            return self.following is None
        return action != "copy" or self.following is not None

    def action_run(self) -> None:
        """Run the draft, or go to what stands in the way; go on with a run that ended before it was completed."""
        if self.following is not None:
            self._go_on(self.following)
            return
        if (config := self._config_or_go_there()) is not None:
            self.post_message(RunWanted(config, self))

    def _config_or_go_there(self) -> RunConfig | None:
        """The draft as a config, or the cursor on what stands in the way."""
        try:
            return self._setup.form.config()
        except InputError as error:
            self.notify(str(error), title="Not yet", severity="warning", markup=False)
            self._open_form(self._setup.form.focus_first_problem)
            return None

    @work
    async def action_experiment(self, which: str) -> None:
        """Test learning rates, or probe how deep to train; what is taken of it stands in the draft then."""
        if (config := self._config_or_go_there()) is None:
            return
        self.workers.cancel_group(self, "profile")  # measuring would take from it
        experiment = Probe(config, self._glyphs) if which == "probe" else RangeTest(config.optimizer.lr, self._marker)
        changes = await self.app.push_screen_wait(ExperimentDialog(experiment, config, self._glyphs))
        self._setup.take(changes or {})

    @work
    async def action_sweep(self) -> None:
        """Fill in a sweep around the draft, and begin it."""
        from tltui.screens.sweep_form import SweepForm  # not needed before

        if (config := self._config_or_go_there()) is None:
            return
        filled = await self.app.push_screen_wait(SweepForm(config, self._glyphs))
        if filled is not None:
            self.workers.cancel_group(self, "profile")  # measuring would take from the trials
            self.post_message(SweepWanted(filled, config))

    def _go_on(self, following: RunFollower) -> None:
        with refusals_told(self):
            following.resume()
            self.notify("an engine goes on with it from its last checkpoint", timeout=3)

    def action_pause(self) -> None:
        """Pause, or resume."""
        if self.following is not None:
            with refusals_told(self):
                asked = self.following.pause_or_resume()
                self.notify(f"{asked} takes effect after this step", timeout=2)

    @work
    async def action_stop(self) -> None:
        """Ask, then stop."""
        question = Confirm(
            "Stop training?",
            "A checkpoint is written; r goes on from there.",
            {"no": "Go on training", "yes": "Stop"},
        )
        if await self.app.push_screen_wait(question) == "yes" and self.following is not None:
            with refusals_told(self):
                self.following.stop()
                self.notify("the run stops after this step", timeout=3)

    def action_checkpoint(self) -> None:
        """Ask for a checkpoint."""
        if self.following is not None:
            with refusals_told(self):
                self.following.checkpoint()
                self.notify("a checkpoint is written after this step", timeout=2)

    @work
    async def action_advice(self) -> None:
        """Do what helps: change this run, or open a draft of another."""
        if self.following is None or self._advice is None or self._advice.remedy is None or self._view is None:
            return
        question, changes = self._advice.question, self._advice.changes
        if not changes:
            tables = self._advice.draft(self.following.config_for_new_run.model_dump())
            self.post_message(DraftWanted(tables, next(iter(self._advice.remedy.settings))))
            self.notify(self._advice.remedy.assignments, title="A new run like this, with", markup=False)
        elif question is None or await self.app.push_screen_wait(question) == "yes":
            for key, value in changes.items():
                self._view.send(key, value)
            self._draw()

    def action_leave(self) -> None:
        """Back to the runs."""
        self.post_message(WorkbenchLeft(None if self.following else self._setup.form.draft.tables))

    def action_save(self) -> None:
        """Save the settings."""
        self._setup.save(self.following.config_for_new_run if self.following else None)

    def action_load(self) -> None:
        """Load settings."""
        self._setup.load_file()

    def action_choose_recipe(self) -> None:
        """Choose a recipe."""
        self._setup.choose_recipe()

    def action_copy_from(self) -> None:
        """Take the settings of another run."""
        self.post_message(SettingsWanted(self))

    def action_copy(self) -> None:
        """A draft with the settings of this run; a recipe's phase changes them for a while only."""
        if self.following is not None:
            self.post_message(DraftWanted(self.following.config_for_new_run.model_dump()))

    # Panes and tabs

    def action_show_layers(self) -> None:
        """Show the layers."""
        self.remove_class("-work")
        self._layers.focus_tree()

    def action_show_tab(self, tab: str) -> None:
        """Show the settings, the curves or the evaluation."""
        self._panes.switch_to(tab)
        self.add_class("-work")
        self._draw()
        self.call_after_refresh(self._focus_tab, tab)

    def action_next_tab(self, by: int) -> None:
        """Show the next tab."""
        self.action_show_tab(self._panes.after(by))

    def action_next(self) -> None:
        """The next field; from the last one of a pane that fills the screen, the other pane."""
        last = self.focus_chain[-1] if self.focus_chain else None
        if self.has_class("-narrow") and self.focused in (last, None):
            if self.has_class("-work"):
                self.action_show_layers()
            else:
                self.action_show_tab(self._panes.tab)
        else:
            self.focus_next()

    @on(events.DescendantFocus)
    def _pane_in_focus(self) -> None:
        in_work = self.focused is not None and self._layers not in self.focused.ancestors_with_self
        self.set_class(in_work, "-work")

    def _open_form(self, focus: Callable[[], None]) -> None:
        self._panes.switch_to("setup")
        self.add_class("-work")
        self.call_after_refresh(focus)

    def _focus_tab(self, tab: str) -> None:
        if tab == "setup":
            self._setup.form.action_leave_field()
        elif tab == "train":
            self._train.focus_curves()
        else:
            self._evaluate.focus_matrix()
