"""Actions that start from a draft's settings: a run, an experiment, a sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual.screen import Screen

from engine.config.schema import RunConfig
from engine.errors import InputError
from tltui.screens.dialogs import Confirm
from tltui.screens.experiment import ExperimentDialog
from tltui.screens.linear_probe import Probe
from tltui.screens.lr_finder import RangeTest
from tltui.screens.messages import StartFolds, StartSweep
from tltui.screens.plan_costs import PlanCosts
from tltui.screens.setup_pane import SetupPane
from tltui.text.glyphs import Glyphs


class DraftActions:
    """Validates a draft before anything starts from it."""

    def __init__(
        self,
        screen: Screen[None],
        setup: SetupPane,
        costs: PlanCosts,
        show_form: Callable[[Callable[[], None]], None],
        runs_dir: Path,
        glyphs: Glyphs,
        marker: str,
    ) -> None:
        """``show_form`` shows the form, then calls its argument. ``marker``: as in ``Curves``.

        ``runs_dir``: as in ``run_experiment``.
        """
        self._screen = screen
        self._setup = setup
        self._costs = costs
        self._show_form = show_form
        self._runs_dir = runs_dir
        self._glyphs = glyphs
        self._marker = marker

    def config(self) -> RunConfig | None:
        """The valid config, or None with the first invalid setting in focus."""
        try:
            return self._setup.form.config()
        except InputError as error:
            self._screen.notify(str(error), title="Not yet", severity="warning", markup=False)
            self._show_form(self._setup.form.focus_first_problem)
            return None

    async def run_experiment(self, which: str) -> None:
        """Run the LR finder ("rates") or the linear probe ("probe"); put accepted settings into the draft."""
        if (config := self.config()) is None:
            return
        self._costs.cancel()  # profiling would slow the experiment down
        experiment = Probe(config, self._glyphs) if which == "probe" else RangeTest(config.optimizer.lr, self._marker)
        dialog = ExperimentDialog(experiment, config, self._runs_dir, self._glyphs)
        self._setup.change(await self._screen.app.push_screen_wait(dialog) or {})

    async def start_folds(self) -> None:
        """Ask, then train a run for each fold of the draft's images."""
        if (config := self.config()) is None:
            return
        folds = config.data.folds
        question = Confirm(
            f"Train {folds} folds?",
            f"{folds} runs, one after the other, each validates on its own fold. data.folds is their number.",
            {"yes": "Train", "no": "Cancel"},
        )
        if await self._screen.app.push_screen_wait(question) == "yes":
            self._costs.cancel()  # profiling would slow the runs down
            self._screen.post_message(StartFolds(config))

    async def start_sweep(self) -> None:
        """Define a sweep around the draft and start it."""
        from tltui.screens.sweep_form import SweepForm  # not needed before

        if (config := self.config()) is None:
            return
        filled = await self._screen.app.push_screen_wait(SweepForm(config, self._glyphs))
        if filled is not None:
            self._costs.cancel()  # profiling would slow the trials down
            self._screen.post_message(StartSweep(filled, config))
