"""Everything a training run holds in its hands, and the commands that change it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.optim import Optimizer

from engine.compute.batch_fit import Fits, Place
from engine.compute.precision import Precision
from engine.config import phases
from engine.config import toml_io as settings
from engine.config.freeze_rules import HEAD
from engine.config.schema import RunConfig
from engine.data.loaders import batch_count
from engine.data.prepare import Data
from engine.errors import InputError
from engine.models.freezing import Freezing
from engine.models.registry import Classifier
from engine.models.split import Split, split
from engine.rng import random_state, restore_rng_state
from engine.runs.commands import AnyCommand, Pause, Resume, SaveCheckpoint, Set, Stop
from engine.runs.event_log import EventLog
from engine.runs.events import Boundary, Checkpoint, CommandApplied, CommandRejected, Epoch, Phase, Warning
from engine.runs.folder import RunFolder
from engine.runs.progress import Report, quiet
from engine.runs.replay import ReplayedLog
from engine.runs.state import best_epoch
from engine.runs.stopped import Stopped
from engine.training import checkpoints, optimizers
from engine.training.checkpoints import CheckpointWriter, Totals
from engine.training.control import Control
from engine.training.distributed import ALONE, Ranks, tensors_of
from engine.training.feature_loader import Feed
from engine.training.initial_weights import StartWeights
from engine.training.optimizers import Depth, NamedState
from engine.training.predict_logits import answers
from engine.training.rank_control import SharedControl
from engine.warning_codes import WarningCode

_PAUSE_POLL = 0.05  # seconds between looks at the commands while nothing else happens
_BETWEEN_CHECKPOINTS = 300.0  # seconds after which one is written within an epoch, too


@dataclass
class Session:
    """A run in training.

    ``step`` and ``epoch`` count what is done, ``totals`` are those of the epoch under way; ``phase``: of the recipe,
    the one in force, 0 before the first; ``parked`` is the
    optimizer's memory of parameters that are frozen now; ``changes``: an earlier engine's, to be made again; ``start``:
    what weights were before they trained. ``skips``: consecutive steps up to now that were not finite.
    """

    folder: RunFolder
    log: EventLog
    control: Control | SharedControl
    config: RunConfig
    classifier: Classifier
    freezing: Freezing
    data: Data
    precision: Precision
    frozen_precision: Precision
    report: Report = quiet
    past: ReplayedLog = field(default_factory=ReplayedLog)
    start: StartWeights = field(default_factory=StartWeights)
    ranks: Ranks = ALONE
    fits: Fits = field(init=False)
    feed: Feed = field(init=False)
    writer: CheckpointWriter = field(init=False)
    split: Split = field(init=False)
    depths: dict[str, Depth] = field(init=False)
    optimizer: Optimizer = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)
    parked: NamedState = field(default_factory=dict)
    phase: int = 0
    step: int = 0
    epoch: int = 0
    totals: Totals = field(default_factory=Totals)
    epochs: list[Epoch] = field(default_factory=list)
    changes: deque[CommandApplied] = field(default_factory=deque)
    paused: bool = False
    rollbacks: int = 0
    skips: int = 0
    commands_refused: bool = False

    def __post_init__(self) -> None:
        self.depths = optimizers.depths(self.classifier)
        self.scaler = self.precision.scaler()
        self.writer = CheckpointWriter(self.folder, self.log.sync)
        network = self.classifier.name, self.classifier.preprocessing.image_size
        self.fits = Fits(Place(*network, self.precision.name, self.frozen_precision.name, self.device), self.warn)
        self.feed = Feed(
            self.data,
            self.classifier,
            self.config,
            self.precision,
            self.frozen_precision,
            self.warn,
            self.control.check,
            self.fits,
            self.ranks,
        )
        self.changes.extend(self.past.changes_after(0, 0))
        self._saved = time.monotonic()
        self.put_plan_in_force(self.config.freeze.rules)

    def put_plan_in_force(self, rules: list[str]) -> None:
        """Freeze and unfreeze. Raises InputError, and changes nothing, for a plan that can't be used.

        What stays trainable keeps its optimizer state, what comes back gets its own back.
        """
        self.writer.finish()  # what is frozen stands in snapshots itself, not as a copy
        self.freezing.apply(rules)
        self.fits.use(rules)
        if hasattr(self, "optimizer"):
            self.parked |= optimizers.named_state(self.optimizer)
        trainable = self.freezing.trainable
        self.start.keep(self.freezing)
        self.optimizer = optimizers.build(self.config.optimizer, trainable, self.depths)
        optimizers.restore_state(self.optimizer, self.parked)
        self.parked = {name: state for name, state in self.parked.items() if name not in trainable}
        self.cut()
        if not any(self.depths[name].group == HEAD for name in trainable):
            self.warn("head_frozen", 'the new classifier is frozen and stays random; add "train head" to freeze.rules')

    def take_up_phase(self) -> None:
        """Put the phase in force in which the epoch to come lies, and tell of it, where that is another one."""
        part = phases.part_of(self.config, self.epoch)
        if part.number == self.phase:
            return
        before, self.config, self.phase = self.config, phases.in_force(self.config, part.number), part.number
        freeze, optimizer = self.config.freeze, self.config.optimizer
        if freeze.rules != before.freeze.rules or optimizer.layer_decay != before.optimizer.layer_decay:
            self.put_plan_in_force(freeze.rules)
        self.log.write(
            Phase(
                number=part.number,
                phases=len(self.config.recipe.phases),
                epochs=part.epochs,
                step=self.step,
                epoch=self.epoch,
                rules=freeze.rules,
                lr=optimizer.lr,
                backbone_lr_factor=optimizer.backbone_lr_factor,
                layer_decay=optimizer.layer_decay,
                parameters=self.freezing.counts(),
            )
        )
        if freeze.rules != before.freeze.rules:
            self.tell_of_boundary()

    def cut(self) -> None:
        """Divide the network anew into what is computed once for each image and what trains."""
        self.split = split(self.classifier, self.freezing)
        self.feed.use(self.split, self.freezing.digests)
        if self.split.why:
            self.warn("not_cut", f"frozen layers are computed again in each epoch: {self.split.why}")

    @property
    def boundary(self) -> str | None:
        """The last layer that is computed once for each image."""
        return None if self.split.kind == "none" else self.split.label

    def tell_of_boundary(self) -> None:
        """Tell what is computed once, and how much of it there is."""
        self.log.write(Boundary(boundary=self.boundary, cached=self.feed.cached))

    def answers(self, name: str, report: Report, activity: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Logits (N, classes) in fp32 and labels (N,) of each batch of a split, on the device, in evaluation mode."""
        self.classifier.module.eval()
        members, size = self.data.splits[name], self.config.train.batch_size

        def tell_batches(done: int, total: int) -> None:
            report(activity, done, total, "batches")

        return answers(self.split, self.feed, members, size, self.precision, self.fits, tell_batches, self.ranks)

    def wanted(self) -> bool:
        """Whether ``obey`` has anything to do, in any of the processes."""
        change_due = bool(self.changes) and self.changes[0].step <= self.step
        due = change_due or self._checkpoint_due or self.step < self.past.settled
        return self.ranks.any(due or self.control.anything() or self._refuses_commands)

    def obey(self) -> None:
        """Apply the commands that came, in order, and wait while the run is paused. Raises Stopped.

        While steps are computed again that were told before, only the changes are made that were made then; all else
        but a stop waits.
        """
        while self.changes and self.changes[0].step <= self.step:
            self._apply(self.changes.popleft().command)
        if self._checkpoint_due:
            self.save(best=False)
        if self.step < self.past.settled:
            self.report("catch_up", self.step, self.past.settled, "steps")
            return
        self.past.finish_replay()
        while True:
            for command in self.control.commands():
                self._answer(command)
            if self._refuses_commands:
                self.commands_refused = True
                self.warn("commands_refused", self.control.refused)
            if not self.paused:
                return
            time.sleep(_PAUSE_POLL)

    @property
    def _refuses_commands(self) -> bool:
        """Whether commands are refused and nobody was told."""
        return bool(self.control.refused) and not self.commands_refused

    @property
    def _checkpoint_due(self) -> bool:
        return time.monotonic() - self._saved >= _BETWEEN_CHECKPOINTS

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
        replanned = isinstance(command, Set) and command.key == "freeze.rules"
        counts = self.freezing.counts() if replanned else None
        self.log.write(CommandApplied(command=command, step=self.step, parameters=counts))
        if replanned:
            self.tell_of_boundary()
        if isinstance(command, SaveCheckpoint):
            self.save(best=False)
            self.finish_checkpoints()
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
        changed = settings.with_live_setting(self.config, key, value)
        if key == "train.epochs" and changed.train.epochs < self.epoch:
            raise InputError(f"train.epochs = {value} is less than the {self.epoch} epochs that are done")
        if key == "freeze.rules":
            self.put_plan_in_force(changed.freeze.rules)
        self.config = changed

    def save(self, *, best: bool) -> None:
        """Have the first process write a checkpoint, between two steps; ``tell_of_checkpoints`` tells when it has."""
        self._saved = time.monotonic()
        if not self.ranks.first:
            return
        weights = self.classifier.module.state_dict()
        frozen = self.freezing.memory
        trainer = checkpoints.TrainerState(
            epoch=self.epoch,
            step=self.step,
            seq=self.log.seq,
            settings=self.config.model_dump(),
            totals=msgspec.structs.replace(self.totals),
            epochs=list(self.epochs),
            rollbacks=self.rollbacks,
            frozen=frozen,
            scaler=self.scaler.state_dict(),
            random=random_state(self.device),
            phase=self.phase,
            skips=self.skips,
        )
        snapshot = checkpoints.Snapshot(
            trainer,
            weights={name: weights[name] if name in frozen.digests else weights[name].clone() for name in weights},
            optimizer=optimizers.copied(self.parked | optimizers.named_state(self.optimizer)),
        )
        self.writer.save(snapshot, best=best)

    def go_on_from(self, checkpoint: Path) -> None:
        """Take up the run where ``checkpoint`` has it, whose weights and settings are in force already."""
        trainer = self.ranks.from_first(lambda: checkpoints.load_trainer(checkpoint))
        self.epoch, self.step, self.totals = trainer.epoch, trainer.step, trainer.totals
        self.epochs, self.phase = trainer.epochs, trainer.phase
        self.rollbacks, self.skips = trainer.rollbacks, trainer.skips
        self.changes = deque(self.past.changes_after(trainer.step, trainer.seq))
        self.freezing.remember(trainer.frozen)
        if trainer.scaler:
            self.scaler.load_state_dict(trainer.scaler)
        self._take_up_optimizer(checkpoint)
        restore_rng_state(trainer.random, self.device)

    def _take_up_optimizer(self, checkpoint: Path) -> None:
        state = self.ranks.from_first(lambda: checkpoints.load_optimizer(checkpoint))
        trainable = self.freezing.trainable
        self.optimizer = optimizers.build(self.config.optimizer, trainable, self.depths)
        optimizers.restore_state(self.optimizer, state)
        self.parked = {name: values for name, values in state.items() if name not in trainable}

    def finish_checkpoints(self) -> None:
        """Wait until the checkpoints are written, and tell of them."""
        self.writer.finish()
        self.tell_of_checkpoints()

    def tell_of_checkpoints(self) -> None:
        """Tell of the checkpoints that were written since the last call."""
        for written in self.writer.written():
            if written.problem:
                self.warn(
                    "checkpoint_failed",
                    f"{written.path}: no checkpoint could be written after step {written.step} ({written.problem}); "
                    "those before are kept, training goes on; make room there",
                )
                continue
            path = str(written.path.relative_to(self.folder.path))
            self.log.write(Checkpoint(path=path, epoch=written.epoch, step=written.step, best=written.best))

    def go_back(self) -> bool:
        """Take up weights and optimizer from the last checkpoint, if there is one; data and schedule go on."""
        self.finish_checkpoints()
        last = self.ranks.from_first(lambda: checkpoints.newest_sound(self.folder.checkpoints, self.warn))
        if last is None:
            return False
        self.rollbacks += 1
        if self.ranks.first:
            checkpoints.load_weights(last, self.classifier.module, leave=self.freezing.frozen())
        self.ranks.share(tensors_of(self.classifier.module))
        self._take_up_optimizer(last)
        return True

    def warn(self, code: WarningCode, message: str) -> None:
        """Tell the user something that does not end the run."""
        self.log.write(Warning(code=code, message=message))

    @property
    def device(self) -> torch.device:
        """Where the network and its inputs are."""
        return self.precision.device

    @property
    def steps_per_epoch(self) -> int:
        """Batches that the training images make."""
        return batch_count(len(self.data.splits["train"]), self.config.train.batch_size)

    @property
    def best(self) -> Epoch | None:
        """The best epoch so far."""
        return best_epoch(self.epochs)
