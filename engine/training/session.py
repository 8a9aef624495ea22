"""Everything a training run holds in its hands, and the commands that change it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from engine import config as settings
from engine.config import RunConfig
from engine.control import Control
from engine.data.prepare import Data
from engine.errors import InputError, Stopped
from engine.models.freeze import Freezing
from engine.models.zoo import Classifier
from engine.plan import HEAD
from engine.protocol import (
    AnyCommand,
    Checkpoint,
    CommandApplied,
    CommandRejected,
    Epoch,
    Pause,
    Resume,
    SaveCheckpoint,
    Set,
    Stop,
    Warning,
)
from engine.rundir import EventLog, RunFolder
from engine.state import best_epoch
from engine.training import checkpoints, optimizers
from engine.training.optimizers import Depth, NamedState
from engine.training.precision import Precision

_PAUSE_POLL = 0.05  # seconds between looks at the commands while nothing else happens


@dataclass
class Session:
    """A run in training.

    ``step`` and ``epoch`` count what is done; ``parked`` is the optimizer's memory of parameters that are frozen now.
    """

    folder: RunFolder
    log: EventLog
    control: Control
    config: RunConfig
    classifier: Classifier
    freezing: Freezing
    data: Data
    precision: Precision
    depths: dict[str, Depth] = field(init=False)
    optimizer: Optimizer = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)
    parked: NamedState = field(default_factory=dict)
    step: int = 0
    epoch: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    paused: bool = False
    rollbacks: int = 0

    def __post_init__(self) -> None:
        self.depths = optimizers.depths(self.classifier)
        self.scaler = self.precision.scaler()
        self.put_plan_in_force(self.config.freeze.rules)

    def put_plan_in_force(self, rules: list[str]) -> None:
        """Freeze and unfreeze. Raises InputError, and changes nothing, for a plan that can't be used.

        What stays trainable keeps its optimizer state, what comes back gets its own back.
        """
        self.freezing.apply(rules)
        if hasattr(self, "optimizer"):
            self.parked |= optimizers.named_state(self.optimizer)
        trainable = self.freezing.trainable
        self.optimizer = optimizers.build(self.config.optimizer, trainable, self.depths)
        optimizers.restore_state(self.optimizer, self.parked)
        self.parked = {name: state for name, state in self.parked.items() if name not in trainable}
        if not any(self.depths[name].group == HEAD for name in trainable):
            self.warn("head_frozen", 'the new classifier is frozen and stays random; add "train head" to freeze.rules')

    def obey(self) -> None:
        """Apply the commands that came, in order, and wait while the run is paused. Raises Stopped."""
        while True:
            for command in self.control.commands():
                self._answer(command)
            if not self.paused:
                return
            time.sleep(_PAUSE_POLL)

    def _answer(self, command: AnyCommand | str) -> None:
        if isinstance(command, str):
            reason = "this line is no command; see the type, key and value of the others"
            self.log.write(CommandRejected(command=command, reason=reason, step=self.step))
            return
        try:
            self._apply(command)
        except InputError as error:
            self.log.write(CommandRejected(command=command, reason=str(error), step=self.step))
            return
        counts = self.freezing.counts() if isinstance(command, Set) and command.key == "freeze.rules" else None
        self.log.write(CommandApplied(command=command, step=self.step, parameters=counts))
        if isinstance(command, SaveCheckpoint):
            self.save(best=False)
        if isinstance(command, Stop):
            raise Stopped("stop command")

    def _apply(self, command: AnyCommand) -> None:
        match command:
            case Pause():
                self._expect(paused=False)
                self.paused = True
            case Resume():
                self._expect(paused=True)
                self.paused = False
            case Set(key=key, value=value):
                self._set(key, value)
            case Stop() | SaveCheckpoint():
                pass

    def _expect(self, *, paused: bool) -> None:
        if self.paused != paused:
            raise InputError("the run is not paused" if paused else "the run is already paused")

    def _set(self, key: str, value: Any) -> None:  # noqa: ANN401 (whatever the sender wrote; the schema decides)
        changed = settings.with_setting(self.config, key, value)
        if not settings.is_live(key):
            raise InputError(f"{key} can't change while the run trains; start a new run with it")
        if key == "train.epochs" and changed.train.epochs < self.epoch:
            raise InputError(f"train.epochs = {value} is less than the {self.epoch} epochs that are done")
        if key == "freeze.rules":
            self.put_plan_in_force(changed.freeze.rules)
        self.config = changed

    def save(self, *, best: bool) -> None:
        """Write a checkpoint and tell of it."""
        state = checkpoints.TrainerState(
            epoch=self.epoch,
            step=self.step,
            settings=self.config.model_dump(),
            optimizer=self.parked | optimizers.named_state(self.optimizer),
        )
        path = checkpoints.save(self.folder, self.classifier.module, state, best=best)
        self.log.write(
            Checkpoint(path=str(path.relative_to(self.folder.path)), epoch=self.epoch, step=self.step, best=best)
        )
        self.log.sync()

    def go_back(self) -> bool:
        """Take up weights and optimizer from the last checkpoint, if there is one; data and schedule go on."""
        last = self.folder.checkpoints / "last"
        if not last.exists():
            return False
        self.rollbacks += 1
        checkpoints.load_weights(last, self.classifier.module, leave=self.freezing.frozen())
        state = checkpoints.load_trainer(last).optimizer
        trainable = self.freezing.trainable
        self.optimizer = optimizers.build(self.config.optimizer, trainable, self.depths)
        optimizers.restore_state(self.optimizer, state)
        self.parked = {name: values for name, values in state.items() if name not in trainable}
        return True

    def warn(self, code: str, message: str) -> None:
        """Tell the user something that does not end the run."""
        self.log.write(Warning(code=code, message=message))

    @property
    def device(self) -> torch.device:
        """Where the network and its inputs are."""
        return self.precision.device

    @property
    def best(self) -> Epoch | None:
        """The best epoch so far."""
        return best_epoch(self.epochs)
