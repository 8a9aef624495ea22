"""Actions on the run that a workbench follows: steer, resume, apply the recommendation."""

from __future__ import annotations

from textual.screen import Screen

from tltui.screens.dialogs import Confirm
from tltui.screens.messages import OpenDraft
from tltui.screens.notify_errors import notify_errors
from tltui.screens.run_display import RunDisplay

RUN_ONLY = frozenset({"browse", "recommendation", "pause", "stop", "checkpoint", "copy"})
"""Actions that a draft has not."""
DRAFT_ONLY = frozenset({"load", "copy_from", "choose_recipe", "next_task", "experiment", "folds", "sweep"})
"""Actions that a run has not."""


class RunActions:
    """Sends commands to one run and notifies when they take effect."""

    def __init__(self, screen: Screen[None], display: RunDisplay) -> None:
        self._screen = screen
        self._display = display
        self._following = display.following

    def is_possible(self, action: str) -> bool:
        """Whether the run's state allows an action."""
        following = self._following
        if action in ("pause", "stop", "checkpoint"):
            return not following.has_backlog and following.status.is_alive
        if action == "browse":
            return following.state.data is not None
        if action == "recommendation":
            return self._display.diagnosis.remedy is not None
        if action == "run":
            return following.status.is_resumable
        return action not in DRAFT_ONLY

    def resume(self) -> None:
        """Start a worker that resumes the run."""
        with notify_errors(self._screen):
            self._following.resume()
            self._screen.notify("Run resumes from its last checkpoint", timeout=3)

    def pause_or_resume(self) -> None:
        """Pause training, or continue it."""
        with notify_errors(self._screen):
            command = self._following.pause_or_resume()
            self._screen.notify(f"Run: {command} after this step", timeout=2)

    async def stop(self) -> None:
        """Ask, then stop with a checkpoint."""
        question = Confirm(
            "Stop training?",
            "A checkpoint is written. r: resume from there",
            {"no": "Keep training", "yes": "Stop"},
        )
        if await self._screen.app.push_screen_wait(question) == "yes":
            with notify_errors(self._screen):
                self._following.stop()
                self._screen.notify("Run stops after this step", timeout=3)

    def save_checkpoint(self) -> None:
        """Write a checkpoint after this step."""
        with notify_errors(self._screen):
            self._following.checkpoint()
            self._screen.notify("Checkpoint is written after this step", timeout=2)

    async def apply_recommendation(self) -> None:
        """Change live settings, or open a draft with the recommended ones."""
        diagnosis = self._display.diagnosis
        if (remedy := diagnosis.remedy) is None:
            return
        question, changes = diagnosis.question, diagnosis.changes
        if not changes:
            self.copy(diagnosis.draft(self._following.config_for_new_run.model_dump()), next(iter(remedy.settings)))
            self._screen.notify(remedy.assignments, title="New run from these settings, with", markup=False)
        elif question is None or await self._screen.app.push_screen_wait(question) == "yes":
            for key, value in changes.items():
                self._display.binding.send(key, value)
            self._display.draw()

    def copy(self, tables: dict[str, dict[str, object]] | None = None, focus: str = "") -> None:
        """Open a draft with ``tables``, or the run's chosen settings: a phase's are temporary."""
        self._screen.post_message(OpenDraft(tables or self._following.config_for_new_run.model_dump(), focus))
