"""Follows one run: folds its events as they come, sends commands, matches the replies. Knows no screen."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from engine.config.schema import RunConfig
from engine.runs import commands
from engine.runs import events as p
from engine.runs.command_log import new_command_id, send
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder
from engine.runs.run_status import RunStatus
from engine.runs.state import RunState, chosen_settings, fold_all, in_force
from tltui.runs import launch, registry

BATCH = 2048  # events folded at once, in about 10 ms


@dataclass(frozen=True)
class SettingReply:
    """The worker's reply to a change of a setting: applied at a step, or refused with a reason."""

    key: str
    value: Any
    step: int
    refused: str


class LogFollower:
    """Folds a run's events as they come, without its settings. ``poll`` is cheap without new events."""

    def __init__(self, folder: RunFolder, *, steps: bool = True) -> None:
        """Without ``steps``, step events are skipped: only curves need them."""
        self.folder = folder
        self.state = RunState()
        """A new object once the log was replaced."""
        self.status = RunStatus.STARTING
        self.has_backlog = False
        """Whether more events can be read at once; ``status`` is not updated before that."""
        self._tail = EventTail(folder, steps=steps)
        self._beginnings = 0

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended, gracefully or not."""
        return self.status.has_ended

    def poll(self) -> bool:
        """Fold all new events; returns whether anything changed."""
        news = self.poll_batch()
        while self.has_backlog:
            news |= self.poll_batch()
        return news

    def poll_batch(self) -> bool:
        """Fold at most ``BATCH`` new events, so that callers never block; see ``has_backlog``."""
        before = (self.state, self.state.seq, self.status)
        coming = self._tail.poll()
        if self._tail.beginnings != self._beginnings:
            self._beginnings = self._tail.beginnings
            self.state = RunState()
        some = list(islice(coming, BATCH))
        fold_all(some, self.state)
        self.has_backlog = len(some) == BATCH
        if not self.has_backlog:
            self.status = registry.status(self.folder, self.state)
        return before[0] is not self.state or before[1:] != (self.state.seq, self.status)


class RunFollower:
    """A run's settings and its followed log; sends commands and matches their replies."""

    def __init__(self, folder: RunFolder, *, steps: bool = True) -> None:
        """``steps`` as for LogFollower. Raises InputError where the run.toml can't be read."""
        self.folder = folder
        self.config: RunConfig = folder.load_config()
        self._log = LogFollower(folder, steps=steps)
        self._pending: dict[str, commands.Set] = {}

    @property
    def state(self) -> RunState:
        """The folded events so far."""
        return self._log.state

    @property
    def status(self) -> RunStatus:
        """The run's status."""
        return self._log.status

    @property
    def has_backlog(self) -> bool:
        """Whether more events can be read at once."""
        return self._log.has_backlog

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended, gracefully or not."""
        return self._log.has_ended

    def poll(self) -> bool:
        """Fold all new events; returns whether anything changed."""
        return self._log.poll()

    def poll_batch(self) -> bool:
        """Fold at most ``BATCH`` new events; see ``has_backlog``."""
        return self._log.poll_batch()

    def take_replies(self) -> list[SettingReply]:
        """The replies to changes sent from here, each once."""
        answered = [id for id in self._pending if id in self.state.answers]
        return [self._reply(self._pending.pop(id), self.state.answers[id]) for id in answered]

    def pending(self, key: str) -> bool:
        """Whether the worker has not replied to a change of ``key`` yet."""
        return any(command.key == key for command in self._pending.values())

    def pause_or_resume(self) -> str:
        """Send the command that applies; returns "pause" or "resume"."""
        if self.status is RunStatus.PAUSED:
            send(self.folder, commands.Resume(id=new_command_id()))
            return "resume"
        send(self.folder, commands.Pause(id=new_command_id()))
        return "pause"

    def stop(self) -> None:
        """Ask the worker to write a checkpoint and end the run."""
        send(self.folder, commands.Stop(id=new_command_id()))

    def resume(self) -> None:
        """Start a worker that resumes a stopped, failed or lost run. Raises InputError."""
        launch.resume(self.folder)

    def checkpoint(self) -> None:
        """Ask the worker for a checkpoint."""
        send(self.folder, commands.SaveCheckpoint(id=new_command_id()))

    def set(self, key: str, value: Any) -> None:  # noqa: ANN401 (a setting's value has whatever type the setting has)
        """Ask the worker to change a live setting."""
        command = commands.Set(id=new_command_id(), key=key, value=value)
        send(self.folder, command)
        self._pending[command.id] = command

    def live_value(self, key: str) -> Any:  # noqa: ANN401
        """The current value of ``section.key``: that of run.toml unless a phase or a command changed it."""
        section, name = key.split(".")
        return getattr(getattr(in_force(self.config, self.state), section), name)

    @property
    def config_for_new_run(self) -> RunConfig:
        """The settings for a new run like this one, with changes by command."""
        return chosen_settings(self.config, self.state)

    @staticmethod
    def _reply(command: commands.Set, event: p.CommandApplied | p.CommandRejected) -> SettingReply:
        reason = event.reason if isinstance(event, p.CommandRejected) else ""
        return SettingReply(command.key, command.value, event.step, reason)
