"""What a freeze plan costs: parameters, memory, and seconds per epoch from a profile of the network."""

from __future__ import annotations

import asyncio
from functools import partial

from textual.screen import Screen
from textual.worker import get_current_worker

from engine.costs.estimate import Profile, estimate
from engine.errors import InputError
from engine.runs.state import RunState
from tltui.engine_client.queries import EngineQueries, ProfileKey
from tltui.screens.layers_pane import LayersPane
from tltui.screens.setup_pane import SetupPane
from tltui.widgets.image_folder import expected_splits
from tltui.widgets.parameter_counter import ParameterCounter

_IDLE = 1.0  # seconds without a change before a draft's network is profiled


class PlanCosts:
    """Fills the parameter counter. Profiles the network of a draft only: a run needs the machine."""

    def __init__(
        self,
        screen: Screen[None],
        queries: EngineQueries,
        layers: LayersPane,
        setup: SetupPane,
        counter: ParameterCounter,
    ) -> None:
        self._screen = screen
        self._queries = queries
        self._layers = layers
        self._setup = setup
        self._counter = counter
        self._profile: tuple[ProfileKey, Profile] | None = None

    def update(self, state: RunState | None) -> None:
        """Show the costs of the plan of a run, or of a draft (None)."""
        if (editor := self._layers.editor) is None:
            return
        draft = self._setup.form.draft
        precision = state.started.precision if state and state.started else draft["train.precision"]
        momentum = draft["optimizer.momentum"] if not draft.problem("optimizer.momentum") else 0.0
        memory = editor.memory(draft["optimizer.name"], precision, momentum)
        cached, boundary = (state.cached, state.boundary) if state else (0, None)
        self._counter.show(editor.counts, memory, cached, boundary)
        self._forecast(state)

    def _forecast(self, state: RunState | None) -> None:
        """Estimate the plan from the profile; a draft without one is profiled first."""
        key = self._setup.profile_key
        if self._profile and self._profile[0] == key:
            work = partial(self._estimate, self._profile[1], state)
            self._screen.run_worker(work, thread=True, exclusive=True, group="estimate", exit_on_error=False)
        elif state is None:
            self._counter.show_estimate(None)
            self._screen.run_worker(self._measure(key), exclusive=True, group="profile", exit_on_error=False)

    def cancel(self) -> None:
        """Stop profiling."""
        self._screen.workers.cancel_group(self._screen, "profile")

    async def _measure(self, key: ProfileKey) -> None:
        await asyncio.sleep(_IDLE)
        try:
            self._profile = key, await self._queries.profile(key)
        except InputError:  # the form shows what is invalid
            return
        self._forecast(None)

    def _estimate(self, profile: Profile, state: RunState | None) -> None:
        worker, editor, found = get_current_worker(), self._layers.editor, self._setup.images_found
        classes = self._setup.classes_found or 1
        try:
            config = self._setup.form.config()
            images = (
                state.data.counts if state and state.data else found and expected_splits(found, classes, config.data)
            )
            cost = estimate(profile, editor.tree, config, images) if editor and images else None
        except InputError:  # the form shows what is invalid
            cost = None
        if not worker.is_cancelled:
            self._screen.app.call_from_thread(self._counter.show_estimate, cost)
