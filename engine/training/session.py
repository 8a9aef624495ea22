"""The state of a training run: config, model, optimizer, position. Freeze plans and phases change it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch.optim import Optimizer

from engine.compute.batch_fit import Fits, Place
from engine.compute.precision import Precision
from engine.config import phases
from engine.config.freeze_rules import HEAD
from engine.config.schema import RunConfig
from engine.config.tasks import score_of
from engine.data.loaders import training_batch_count
from engine.data.prepare import Data
from engine.models.freezing import Freezing
from engine.models.registry import Classifier
from engine.models.split import NetworkSplit, split
from engine.runs.events import Boundary, CommandApplied, Epoch, Phase
from engine.runs.state import best_epoch
from engine.training import optimizers
from engine.training.checkpoints import CheckpointWriter, EpochTotals
from engine.training.ema import WeightAverage
from engine.training.feature_loader import FeatureLoader
from engine.training.initial_weights import InitialWeights
from engine.training.optimizers import Depth, NamedState
from engine.training.predict_logits import predict_logits
from engine.training.run_context import RunContext


@dataclass
class Session:
    """A run in training.

    - ``step`` and ``epoch`` count completed steps and epochs; ``totals`` sums over the current epoch.
    - ``phase`` is the number of the recipe's current phase, 0 before the first.
    - ``parked_state`` is the optimizer state of parameters that are frozen now.
    - ``pending_changes`` are commands of an earlier worker that a resumed run applies again.
    - ``skipped`` counts the consecutive non-finite steps up to now.
    - ``saved_at`` is the time of the last checkpoint, in seconds of time.monotonic.
    """

    context: RunContext
    config: RunConfig
    classifier: Classifier
    freezing: Freezing
    data: Data
    precision: Precision
    frozen_precision: Precision
    initial_weights: InitialWeights = field(default_factory=InitialWeights)
    fits: Fits = field(init=False)
    loader: FeatureLoader = field(init=False)
    writer: CheckpointWriter = field(init=False)
    split: NetworkSplit = field(init=False)
    depths: dict[str, Depth] = field(init=False)
    optimizer: Optimizer = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)
    average: WeightAverage = field(init=False)
    parked_state: NamedState = field(default_factory=dict)
    phase: int = 0
    step: int = 0
    epoch: int = 0
    totals: EpochTotals = field(default_factory=EpochTotals)
    epochs: list[Epoch] = field(default_factory=list)
    pending_changes: deque[CommandApplied] = field(default_factory=deque)
    paused: bool = False
    rollbacks: int = 0
    skipped: int = 0
    commands_refused: bool = False
    saved_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.depths = optimizers.parameter_depths(self.classifier)
        self.scaler = self.precision.scaler()
        self.writer = CheckpointWriter(self.context.folder, self.context.log.sync)
        network = self.classifier.name, self.classifier.preprocessing.image_size
        place = Place(*network, self.precision.name, self.frozen_precision.name, self.device)
        self.fits = Fits(place, self.context.warn)
        self.loader = FeatureLoader(
            self.data,
            self.classifier,
            self.config,
            self.precision,
            self.frozen_precision,
            self.context.warn,
            self.context.control.check,
            self.fits,
            self.context.ranks,
        )
        self.average = WeightAverage(self.config.train.ema)
        self.pending_changes.extend(self.context.replayed.changes_after(0, 0))
        self.apply_freeze_plan(self.config.freeze.rules)

    def apply_freeze_plan(self, rules: list[str]) -> None:
        """Freeze and unfreeze layers. Raises InputError, and changes nothing, for a plan that does not fit.

        Parameters keep their optimizer state: trainable ones in the optimizer, frozen ones in ``parked_state``.
        """
        self.writer.finish()  # snapshots hold frozen tensors themselves, not copies
        self.freezing.apply(rules)
        self.fits.use(rules)
        if hasattr(self, "optimizer"):
            self.parked_state |= optimizers.named_state(self.optimizer)
        self.initial_weights.record(self.freezing)
        self.average.track(self.freezing)
        self.rebuild_optimizer(self.parked_state)
        self.split_network()
        if not any(self.depths[name].group == HEAD for name in self.freezing.trainable):
            message = 'the new classifier is frozen and stays random; add "train head" to freeze.rules'
            self.context.warn("head_frozen", message)

    def rebuild_optimizer(self, state: NamedState) -> None:
        """Build the optimizer over the trainable parameters and restore their ``state``; the rest is parked."""
        trainable = self.freezing.trainable
        backbone_decay = not self.config.train.l2_sp  # which takes its place
        self.optimizer = optimizers.build(self.config.optimizer, trainable, self.depths, backbone_decay=backbone_decay)
        optimizers.restore_state(self.optimizer, state)
        self.parked_state = {name: values for name, values in state.items() if name not in trainable}

    def split_network(self) -> None:
        """NetworkSplit the network anew into its frozen prefix and its trainable suffix."""
        self.split = split(self.classifier, self.freezing)
        self.loader.set_split(self.split, self.freezing.digests)
        mixes = self.config.train.mixes
        if why := self.split.why or (self.boundary and mixes and f"{mixes} mixes training images before them"):
            self.context.warn("not_cut", f"frozen layers are computed again in each epoch: {why}")

    def enter_phase(self) -> None:
        """Apply the settings of the recipe's phase that the next epoch belongs to, and emit it, if it changes."""
        part = phases.phase_span_at(self.config, self.epoch)
        if part.number == self.phase:
            return
        before, self.config, self.phase = self.config, phases.in_force(self.config, part.number), part.number
        freeze, optimizer = self.config.freeze, self.config.optimizer
        if freeze.rules != before.freeze.rules or optimizer.layer_decay != before.optimizer.layer_decay:
            self.apply_freeze_plan(freeze.rules)
        self.context.log.write(
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
            self.emit_boundary()

    def emit_boundary(self) -> None:
        """Emit the boundary of the frozen prefix and the size of its cached features."""
        self.context.log.write(Boundary(boundary=self.boundary, cached=self.loader.cached_bytes))

    def predict_logits(self, name: str, activity: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Logits (N, classes) in fp32 and labels (N,) of each batch of a split, on the device, in evaluation mode.

        Progress is reported as ``activity``.
        """
        self.classifier.module.eval()
        members, size = self.data.splits[name], self.config.train.batch_size

        def report_batches(done: int, total: int) -> None:
            self.context.report(activity, done, total, "batches")

        return predict_logits(
            self.split, self.loader, members, size, self.precision, self.fits, report_batches, self.context.ranks
        )

    @property
    def boundary(self) -> str | None:
        """The last layer of the frozen prefix; None without one."""
        return None if self.split.kind == "none" else self.split.label

    @property
    def device(self) -> torch.device:
        """Where the network and its inputs are."""
        return self.precision.device

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return training_batch_count(len(self.data.splits["train"]), self.config.train.step_size)

    @property
    def score(self) -> str:
        """The validation metric that makes an epoch the best."""
        return score_of(self.data.task.spec.task, self.config.train.score)

    @property
    def best(self) -> Epoch | None:
        """The best epoch so far."""
        return best_epoch(self.epochs)
