"""The events that a worker emits; each is one line of JSON with a ``type``.

Readers ignore unknown fields, so that an older reader can follow a newer worker. JSON has no NaN and no infinity: a
non-finite value is ``null`` with its kind in ``nonfinite`` beside it. Imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

if TYPE_CHECKING:
    from engine.warning_codes import WarningCode
else:  # a log of another version may hold codes that this one does not know
    WarningCode = str
from engine.config.tasks import LOSS, objective
from engine.runs.commands import AnyCommand
from engine.runs.dataset_summary import DatasetSummary, SkippedFile
from engine.runs.json_floats import NonFinite

# Bounded, because a log from elsewhere may hold any number and arithmetic on it must not fail.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Event(msgspec.Struct, kw_only=True, tag_field="type", tag=None):
    """A fact about a run. The log sets ``seq`` (1, 2, 3 … within a run) and ``time`` (Unix seconds)."""

    seq: Count = 0
    time: float = 0.0


class RunStarted(Event, tag="run_started"):
    """A worker process has started or resumed the run.

    ``precision`` is that of training, ``frozen_precision`` that of the frozen prefix. ``processes`` is the world size;
    ``process_id`` is the process of rank 0.
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
    """Progress of an activity that emits no steps.

    ``activity`` is "precision" (bf16 timed against fp32), "download", "data", "catch_up", "validate" or "evaluate".
    ``total`` is 0 if unknown.
    """

    activity: str
    done: Count
    total: Count
    unit: str


class DataReady(Event, tag="data_ready"):
    """The dataset is read, checked and split. ``counts``: images per split; ``class_counts``: per split and class.

    ``scan``: what its files hold. ``value_range``: the values of images of more than 8 bits that become black and
    white; null where the dataset has none, and in logs of version 0.1.0, which scaled each image by its type.
    ``task`` is what the network learns to predict: data.task, or the guess from the labels. ``task_reason`` says how
    the labels were read, "" for one class per image. ``target_mean`` and ``target_std``: of each number to predict,
    over the training images. ``soft_labels``: whether images have a probability per class.
    """

    classes: list[str]
    counts: dict[str, Count]
    class_counts: dict[str, list[Count]]
    skipped: list[SkippedFile]
    seconds: float
    value_range: tuple[float, float] | None = None
    scan: DatasetSummary | None = None
    task: str = "single"
    task_reason: str = ""
    target_mean: list[float] = []
    target_std: list[float] = []
    soft_labels: bool = False


class ParameterCounts(msgspec.Struct):
    """Numbers of scalar parameters, each tensor counted once."""

    total: Count
    trainable: Count
    frozen: Count


class WeightsReport(msgspec.Struct):
    """The source of the weights, and which tensors were loaded, adapted or left random.

    ``missing``: backbone tensors that stay random. ``mismatched``: tensors with another shape or dtype.
    ``not_finite``: loaded tensors with NaN or infinity. ``state_dict``: the one of several that was chosen;
    ``prefix``: the prefix stripped from its names. ``adapted``: tensors adapted to the number of input channels;
    ``resampled``: to the image size. ``converted``: tensors of dtypes such as float16. ``head_classes``: the number of
    classes whose rows of the head were loaded. ``digest``: SHA-256 over all initial parameters, the new head included.
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
    """The model is built, its weights are loaded, and training begins.

    ``boundary``: the end of the frozen prefix; ``cached``: bytes of cached features.
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
    """A worker resumes the run from a ``checkpoint`` that was written after ``step`` and ``epoch``.

    ``checkpoint`` is relative to the run's folder; null: from the start. Steps up to ``told`` are computed again and
    not emitted again.
    """

    step: Count
    epoch: Count
    checkpoint: str | None
    told: Count


class Phase(Event, tag="phase"):
    """A phase of the recipe begins before ``step`` + 1 and lasts ``epochs`` from ``epoch`` + 1 on.

    ``number`` counts from 1 to ``phases``. The phase overrides rules and learning rates that commands set before.
    ``lr`` is the head's.
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
    """The frozen prefix has changed; it ends at ``boundary`` (null: no prefix). ``cached``: bytes of features."""

    boundary: str | None
    cached: Count


class Step(Event, tag="step", gc=False):  # hundreds of thousands live at once, and none is part of a cycle
    """One optimizer step; ``step`` counts from 1 over the run, ``epoch`` from 1; ``lr`` is by parameter group."""

    step: Count
    epoch: Count
    loss: float | None
    lr: dict[str, float]
    grad_norm: float | None
    images_per_second: float
    nonfinite: NonFinite | None = None


class LayerNorms(msgspec.Struct):
    """Euclidean norms over a layer's own parameters that are or have been trainable.

    ``start``: of the initial weights; ``moved``: of their change since (both null where the initial weights are
    unknown). ``weight``: of the weights. ``gradient``: before clipping; ``update``: of the change by this step (both
    exactly 0 where the layer is frozen).
    """

    start: float | None
    moved: float | None
    weight: float
    gradient: float
    update: float


class DeadUnits(msgspec.Struct):
    """Dead units of an activation: of its ``units`` (channels), those that are 0 in every image of a step."""

    dead: Count
    units: Count


class Layers(Event, tag="layers"):
    """Layer statistics of one step.

    ``layers``: norms by path, without layers that never trained. ``dead``: by path of the activation. ``stages``:
    relative change of the weights since the start, by stage.
    """

    step: Count
    epoch: Count
    layers: dict[str, LayerNorms]
    dead: dict[str, DeadUnits]
    stages: dict[str, float]


class Epoch(Event, tag="epoch"):
    """A pass over the training images and its validation; ``seconds`` include both, accuracies are shares of 1.

    ``frozen_digest`` is a SHA-256 over all frozen parameters and buffers. ``frozen_unchanged`` says whether each is
    bit for bit what it was when it was frozen. ``val_balanced_accuracy`` is the mean recall over the classes.
    ``val_label_rank`` is the mean rank of the label among the classes that were not predicted, over the misclassified
    images: 0 is the second guess, 1 the last, 0.5 chance level; null without misclassified images or with two classes.
    ``batch_norms`` counts layers whose batch statistics are updated. ``score`` names the validation metric that makes
    an epoch the best; ``train_metrics`` and ``val_metrics`` hold, by name, metrics without a field of their own.
    Accuracies are null where the task has none.
    """

    epoch: Count
    step: Count
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    seconds: float
    frozen_digest: str
    frozen_unchanged: bool
    nonfinite: NonFinite | None = None
    val_balanced_accuracy: float | None = None
    val_label_rank: float | None = None
    batch_norms: Count = 0
    score: str = "accuracy"
    train_metrics: dict[str, float | None] = {}
    val_metrics: dict[str, float | None] = {}

    @property
    def val_score(self) -> float | None:
        """The validation metric that makes an epoch the best; None where it is undefined."""
        return self.val_metric(self.score)

    @property
    def objective(self) -> float | None:
        """``val_score``, negated where a lower one is better, so that the highest is the best."""
        return self.val_objective(self.score)

    def val_objective(self, name: str) -> float | None:
        """A metric of the validation images, negated where a lower one is better."""
        value = self.val_metric(name)
        return None if value is None else objective(name, value)

    def train_metric(self, name: str) -> float | None:
        """A metric of the training images; None where the epoch does not have it."""
        return self.train_accuracy if name == "accuracy" else self.train_metrics.get(name)

    def val_metric(self, name: str) -> float | None:
        """A metric of the validation images; None where the epoch does not have it."""
        fields = {
            LOSS: self.val_loss,
            "accuracy": self.val_accuracy,
            "balanced_accuracy": self.val_balanced_accuracy,
        }
        return fields[name] if name in fields else self.val_metrics.get(name)


class Forgetting(Event, tag="forgetting"):
    """How much of the pretrained features is left after an epoch, on so many validation ``images``.

    ``cka``: linear CKA of each stage's features with those at the start, from 1 (the same up to rotation and scale)
    to 0; without stages of the frozen prefix. ``agreement``: share of images for which the original classifier
    predicts the same class from the present features; null without an original classifier.
    """

    epoch: Count
    step: Count
    # Logs since version 0.1.0 have this name and must stay readable.
    images: Count = msgspec.field(name="pictures")
    cka: dict[str, float]
    agreement: float | None


class Checkpoint(Event, tag="checkpoint"):
    """A checkpoint of the weights and the trainer's state is on disk; ``path`` is relative to the run's folder."""

    path: str
    epoch: Count
    step: Count
    best: bool


class Warning(Event, tag="warning"):
    """A problem that does not end the run. ``code`` is stable, for scripts."""

    code: WarningCode
    message: str


class ClassMetrics(msgspec.Struct):
    """Metrics of one class; ``support`` is its number of images.

    ``roc_auc`` and ``average_precision`` are one-vs-rest; null where all images, or none, are of the class.
    ``threshold``: the probability from which the label is predicted, where images may have several.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: Count
    roc_auc: float | None = None
    average_precision: float | None = None
    threshold: float | None = None


class NumberMetrics(msgspec.Struct):
    """Metrics of one predicted number, in its own unit.

    ``mean`` and ``std`` are those of the true values. ``points``: true and predicted value of some images, spread
    evenly over the split. Null: undefined.
    """

    label: str
    mae: float | None
    rmse: float | None
    r2: float | None
    spearman: float | None
    mean: float
    std: float
    points: list[tuple[float, float]]


class ReliabilityBin(msgspec.Struct):
    """A bin of predictions by confidence: their number, mean confidence and accuracy."""

    count: Count
    confidence: float
    accuracy: float


class Evaluated(Event, tag="evaluated"):
    """Metrics of the best checkpoint on one split; shares are of 1.

    ``accuracy_interval`` is Wilson's at 95 %, of tasks that are judged by the accuracy. ``confusion[true][predicted]``
    counts images. ``top5`` is null with five classes or fewer. ``roc_auc`` and ``average_precision`` are means over the
    classes that have them. ``ece`` is the expected calibration error over the bins of ``reliability``. ``metrics``
    holds, by name, metrics without a field of their own.

    ``score`` names the metric that the ``task`` is judged by. Tasks other than single leave empty what they do not
    have. ``cooccurrence[true][predicted]`` counts images with one label for which the other is predicted;
    ``numbers`` has metrics per predicted number.
    """

    split: str
    count: Count
    classes: list[str]
    images_per_second: float
    log_loss: float | None = None
    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    per_class: list[ClassMetrics] = []
    confusion: list[list[Count]] = []
    top5: float | None = None
    weighted_f1: float | None = None
    roc_auc: float | None = None
    average_precision: float | None = None
    ece: float | None = None
    metrics: dict[str, float | None] = {}
    reliability: list[ReliabilityBin] = []
    nonfinite: NonFinite | None = None
    task: str = "single"
    score: str = "accuracy"
    cooccurrence: list[list[Count]] = []
    numbers: list[NumberMetrics] = []

    def __post_init__(self) -> None:
        """Raise ValueError unless each class has metrics and each pair of classes a count, as far as there are any."""
        sizes = {len(rows) for rows in (self.per_class, self.numbers) if rows}
        for matrix in (self.confusion, self.cooccurrence):
            sizes |= {len(matrix), *map(len, matrix)} if matrix else set()
        lacks_matrix = self.task == "single" and not self.confusion
        lacks_metrics = bool(self.cooccurrence and not self.per_class)
        if sizes != {len(self.classes)} or lacks_matrix or lacks_metrics:
            raise ValueError("metrics do not match the classes")


class Baseline(Event, tag="baseline"):
    """The accuracy of a simple method on the same split, for comparison."""

    name: str
    split: str
    accuracy: float


class FrozenProof(msgspec.Struct):
    """The frozen tensors at the end of the run, and whether any changed while it was frozen."""

    tensors: Count
    values: Count
    checks: Count
    digest: str
    unchanged: bool


class RunFinished(Event, tag="run_finished"):
    """The last event of a worker. ``exit_code`` is that of the worker and the command line: 0, 1, 2 or 130.

    ``best_score``: the validation metric ``score`` in the best epoch.
    """

    status: Literal["completed", "stopped", "failed"]
    reason: str
    seconds: float
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=255)]
    best_epoch: Count | None = None
    best_val_accuracy: float | None = None
    score: str = "accuracy"
    best_score: float | None = None
    frozen: FrozenProof | None = None


class CommandApplied(Event, tag="command_applied"):
    """``command`` took effect before ``step`` + 1. ``parameters`` is set where the freeze plan changed."""

    command: AnyCommand
    step: Count
    parameters: ParameterCounts | None = None


class CommandRejected(Event, tag="command_rejected"):
    """``command``, or the raw line where it can't be parsed, was rejected."""

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
    """Decode a line. Raises msgspec.DecodeError if it is not an event."""
    try:
        return _event_decoder.decode(line)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None


def decode_events(lines: bytes) -> list[AnyEvent]:
    """Decode many lines in a third of the time. Raises msgspec.DecodeError if one of them is not an event."""
    try:
        return _event_decoder.decode_lines(lines)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
