"""The lines that cross the process boundary: events (engine → everyone) and commands (everyone → engine).

Each is one JSON object on one line with a ``type``. Unknown fields are ignored, so that an older reader can
follow a newer engine. JSON knows no NaN and no infinity: a value that is not finite is written as ``null`` with
its kind in ``nonfinite`` beside it. Imports no torch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

if TYPE_CHECKING:
    from engine.warning_codes import WarningCode
else:  # what writes a code is checked; a log of another version may hold any, and is read all the same
    WarningCode = str
from engine.runs.commands import AnyCommand

# What a healthy run counts; a log from elsewhere may hold any number, and arithmetic on it must not fail.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


NonFinite = Literal["nan", "inf", "-inf"]


def finite(value: float) -> tuple[float | None, NonFinite | None]:
    """Split a float into what JSON can carry and the kind of what it can't."""
    if math.isfinite(value):
        return value, None
    return None, "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def restore(value: float | None, nonfinite: NonFinite | None) -> float:
    """The float that ``finite`` took apart."""
    return float(nonfinite or "nan") if value is None else value


class Event(msgspec.Struct, kw_only=True, tag_field="type", tag=None):
    """A fact. ``seq`` counts 1, 2, 3 … within a run; ``time`` is in Unix seconds. The log fills in both."""

    seq: Count = 0
    time: float = 0.0


class RunStarted(Event, tag="run_started"):
    """The engine process is up; each engine that takes up a run says so.

    ``precision``: of training; ``frozen_precision``: of layers that are computed once; ``processes``: that train the
    run together, of which ``process_id`` is the first.
    """

    run: str
    versions: dict[str, str]
    device: str
    device_name: str
    precision: str
    frozen_precision: str
    process_id: Count
    seed: int
    epochs: Count
    processes: Count = 1


class Progress(Event, tag="progress"):
    """How far a long step is that tells no steps: "precision" (bf16 timed against fp32), "download", "data",
    "catch_up", "validate" or "evaluate".

    ``total`` 0: unknown.
    """

    activity: str
    done: Count
    total: Count
    unit: str


class SkippedFile(msgspec.Struct):
    """A file that could not be used, and why."""

    path: str
    reason: str


class DataReady(Event, tag="data_ready"):
    """The data are read, checked and split. ``counts``: images per split; ``class_counts`` per split and class."""

    classes: list[str]
    counts: dict[str, Count]
    class_counts: dict[str, list[Count]]
    skipped: list[SkippedFile]
    seconds: float


class ParameterCounts(msgspec.Struct):
    """Numbers of scalar parameters, each tensor counted once."""

    total: Count
    trainable: Count
    frozen: Count


class WeightsReport(msgspec.Struct):
    """Where the weights come from, and which tensors were loaded, adapted or left random.

    ``missing``: tensors of the backbone that stay random. ``mismatched``: of another shape or type.
    ``not_finite``: loaded, with NaN or infinity in them. ``state_dict``: the one of several that was chosen, and
    ``prefix``: what was stripped from its names. ``adapted``: to the number of input channels; ``resampled``: to the
    image size. ``converted``: types such as float16. ``head_classes``: classes whose rows of the head were loaded.
    ``digest``: SHA-256 over every parameter that a run began with, those of the new head included.
    """

    source: str
    loaded: Count = 0
    missing: list[str] = []
    unexpected: list[str] = []
    mismatched: list[str] = []
    not_finite: list[str] = []
    state_dict: str = ""
    prefix: str = ""
    adapted: list[str] = []
    resampled: list[str] = []
    converted: list[str] = []
    head_classes: Count = 0
    digest: str = ""


class ModelReady(Event, tag="model_ready"):
    """The model is built and loaded, training begins.

    ``boundary``: where frozen layers that are computed once end; ``cached``: bytes of what they gave.
    """

    name: str
    parameters: ParameterCounts
    head: list[str]
    input_size: Count
    rules: list[str]
    steps_per_epoch: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    weights: WeightsReport
    boundary: str | None = None
    cached: Count = 0


class Resumed(Event, tag="resumed"):
    """Another engine goes on with the run, from a ``checkpoint`` (path relative to the run's folder; null: from the
    start) that was made after ``step`` and ``epoch``. Steps up to ``told`` are computed again and not told again."""

    step: Count
    epoch: Count
    checkpoint: str | None
    told: Count


class Phase(Event, tag="phase"):
    """A phase of the recipe begins before ``step`` + 1 and is in force, for so many ``epochs`` from ``epoch`` + 1 on.

    ``number`` counts from 1 to ``phases``; what commands made of rules and rates before is over. ``lr`` is the head's.
    """

    number: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    phases: Count
    epochs: Count
    step: Count
    epoch: Count
    rules: list[str]
    lr: float
    backbone_lr_factor: float
    layer_decay: float
    parameters: ParameterCounts


class Boundary(Event, tag="boundary"):
    """What is computed once has changed: frozen layers up to ``boundary`` (null: none); ``cached`` bytes."""

    boundary: str | None
    cached: Count


class Step(Event, tag="step", gc=False):  # hundreds of thousands live at once, and none is part of a cycle
    """One optimizer step; ``step`` counts from 1 over the run, ``epoch`` from 1. ``lr`` by parameter group."""

    step: Count
    epoch: Count
    loss: float | None
    lr: dict[str, float]
    grad_norm: float | None
    images_per_second: float
    nonfinite: NonFinite | None = None


class LayerFigures(msgspec.Struct):
    """Euclidean norms over the parameters of one layer, those below it left out, that train or have trained.

    ``start``: of the weights that the run began with, ``moved``: of how far they are from there now (both null where
    nobody knows any more what they were); ``weight``: of the weights; ``gradient``: before clipping, ``update``: of the
    change by this one step, both exactly 0 where the layer is frozen.
    """

    start: float | None
    moved: float | None
    weight: float
    gradient: float
    update: float


class DeadUnits(msgspec.Struct):
    """Of the ``units`` (channels) that an activation gave, those that were 0 everywhere in each image of a step."""

    dead: Count
    units: Count


class Layers(Event, tag="layers"):
    """Layers at work, as seen at one step: ``layers`` by path, but for those that never trained; ``dead`` by path of
    the activation; ``stages``: relative change of the weights since the start, by stage."""

    step: Count
    epoch: Count
    layers: dict[str, LayerFigures]
    dead: dict[str, DeadUnits]
    stages: dict[str, float]


class Epoch(Event, tag="epoch"):
    """A pass over the training images and its validation; accuracies are shares of 1, ``seconds`` include both.

    ``frozen_digest`` is a SHA-256 over all frozen parameters and buffers, ``frozen_unchanged`` whether each is still
    bit for bit what it was when it was frozen. ``val_balanced_accuracy`` is the mean over the classes of the share of
    their images that is right; ``val_label_rank`` the mean place of the label among the classes that were not
    answered, over the mistakes: 0 is the second guess, 1 the last, 0.5 chance; null where there is no mistake, or with
    two classes. ``batch_norms``: layers whose batch statistics moved.
    """

    epoch: Count
    step: Count
    train_loss: float | None
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float
    seconds: float
    frozen_digest: str
    frozen_unchanged: bool
    nonfinite: NonFinite | None = None
    val_balanced_accuracy: float | None = None
    val_label_rank: float | None = None
    batch_norms: Count = 0


class Forgetting(Event, tag="forgetting"):
    """How much of the pretrained network is left after an epoch, on so many validation ``images``.

    ``cka``: linear CKA of what a stage gives and what it gave when the run began, from 1, the same up to rotation and
    scale, to 0; stages that are computed once are left out. ``agreement``: share of images for which the original
    classifier still has the same answer on the features as they are now; null where there is none.
    """

    epoch: Count
    step: Count
    # The name in logs since version 0.1.0, which have to stay readable.
    images: Count = msgspec.field(name="pictures")
    cka: dict[str, float]
    agreement: float | None


class Checkpoint(Event, tag="checkpoint"):
    """Weights and the trainer's state are on disk; ``path`` is relative to the run's folder."""

    path: str
    epoch: Count
    step: Count
    best: bool


class Warning(Event, tag="warning"):
    """Something the user should know that does not end the run. ``code`` is stable, for scripts."""

    code: WarningCode
    message: str


class ClassMetrics(msgspec.Struct):
    """Figures of one class; ``support`` is its number of images. ``roc_auc`` and ``average_precision`` are those of
    its probability against all other classes, null where all images, or none, are of the class."""

    label: str
    precision: float
    recall: float
    f1: float
    support: Count
    roc_auc: float | None = None
    average_precision: float | None = None


class ReliabilityBin(msgspec.Struct):
    """Answers of about the same confidence: how many, their mean confidence, and the share that is right."""

    count: Count
    confidence: float
    accuracy: float


class Evaluated(Event, tag="evaluated"):
    """The best checkpoint on one split.

    ``accuracy_interval`` is Wilson's at 95 %; ``confusion[true][predicted]`` counts images. ``top5`` is null with
    five classes or fewer; ``roc_auc`` and ``average_precision`` are means over the classes that have them; ``ece`` is
    the expected calibration error over ``reliability``'s bins. Shares are of 1. ``metrics`` holds, by name, those that
    have no field of their own.
    """

    split: str
    count: Count
    log_loss: float | None
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    classes: list[str]
    per_class: list[ClassMetrics]
    confusion: list[list[Count]]
    images_per_second: float
    top5: float | None = None
    weighted_f1: float | None = None
    roc_auc: float | None = None
    average_precision: float | None = None
    ece: float | None = None
    metrics: dict[str, float | None] = {}
    reliability: list[ReliabilityBin] = []
    nonfinite: NonFinite | None = None

    def __post_init__(self) -> None:
        """Raises ValueError unless there is a figure for each class and a count for each pair."""
        count = len(self.classes)
        if {len(self.per_class), len(self.confusion), *map(len, self.confusion)} != {count}:
            raise ValueError("figures and classes do not go together")


class Baseline(Event, tag="baseline"):
    """A simple method on the same split, to compare with."""

    name: str
    split: str
    accuracy: float


class FrozenProof(msgspec.Struct):
    """What was frozen when the run ended, and whether any of it ever changed while it was frozen."""

    tensors: Count
    values: Count
    checks: Count
    digest: str
    unchanged: bool


class RunFinished(Event, tag="run_finished"):
    """The last event of an engine. ``exit_code`` is the engine's and the command line's: 0, 1, 2 or 130."""

    status: Literal["completed", "stopped", "failed"]
    reason: str
    seconds: float
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=255)]
    best_epoch: Count | None = None
    best_val_accuracy: float | None = None
    frozen: FrozenProof | None = None


class CommandApplied(Event, tag="command_applied"):
    """``command`` took effect before ``step`` + 1. ``parameters`` is given where the freeze plan changed."""

    command: AnyCommand
    step: Count
    parameters: ParameterCounts | None = None


class CommandRejected(Event, tag="command_rejected"):
    """``command`` (or the raw line, where it could not be read) was refused."""

    command: AnyCommand | str
    reason: str
    step: Count


AnyEvent = (
    RunStarted
    | Progress
    | DataReady
    | ModelReady
    | Resumed
    | Phase
    | Boundary
    | Step
    | Layers
    | Epoch
    | Forgetting
    | CommandApplied
    | CommandRejected
    | Checkpoint
    | Warning
    | Evaluated
    | Baseline
    | RunFinished
)


_event_decoder = msgspec.json.Decoder(AnyEvent)


def decode_event(line: bytes) -> AnyEvent:
    """Raises msgspec.DecodeError for what is no event."""
    try:
        return _event_decoder.decode(line)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None


def decode_events(lines: bytes) -> list[AnyEvent]:
    """Whole lines at once, in a third of the time. Raises msgspec.DecodeError where one of them is no event."""
    try:
        return _event_decoder.decode_lines(lines)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
