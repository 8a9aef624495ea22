"""RunConfig: every setting of a run, with its default, its range and its help.

It is the only description of a setting: the commented run.toml, ``--set``, error messages and the manual use it.
Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from engine.config.choices import Choices, describe_choices
from engine.config.data_sources import BY_PATH, DATA_SOURCES, resolve_source
from engine.config.freeze_rules import parse_rules
from engine.config.losses import LOSSES
from engine.config.optimizers import OPTIMIZERS
from engine.config.schedules import SCHEDULES
from engine.config.tasks import AUTO, SCORES, TASKS, loss_target, score_of

# Marks a field that a command may change while the run trains.
LIVE: JsonDict = {"live": True}


KFOLD = "kfold"
SPLIT_METHODS = ("auto", "random", KFOLD)
"""What data.split takes besides a file."""

Rate = Annotated[float, Field(gt=0, le=100)]


Decay = Annotated[float, Field(gt=0, le=1)]


def _as_list(value: object) -> object:
    """A list of names as it is; a single name, as older files have it, as a list of one, or of none if empty."""
    if isinstance(value, list):
        return value
    text = str(value).strip()
    return [text] if text else []


def _as_score(value: object) -> object:
    """The name of a score; the area under the ROC curve is also called auc."""
    return "roc_auc" if value == "auc" else value


class Section(BaseModel):
    """One table of run.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where the images come from and how they are prepared."""

    source: Annotated[str, Choices(DATA_SOURCES)] = Field(
        default=BY_PATH,
        description=f"kind of dataset: {describe_choices((name, entry.help) for name, entry in DATA_SOURCES.items())}",
    )
    path: str = Field(
        default="",
        description="a folder or archive with one subfolder per class, or with train/ val/ test/ and those inside; "
        "a table with columns path,label[,split]; Parquet files; shards-{000..010}.tar; a saved Hugging Face dataset; "
        "torchvision: the data root",
    )
    name: str = Field(default="", description='torchvision only: the dataset\'s class name, e.g. "Flowers102"')
    task: Annotated[str, Choices(TASKS, (AUTO,))] = Field(
        default=AUTO,
        description="what the network predicts: auto (chosen from the labels), "
        + describe_choices((name, entry.help) for name, entry in TASKS.items()),
    )
    root: str = Field(default="", description="table: folder that the paths are relative to; empty: the table's")
    path_column: str = Field(
        default="", description="table: column of the images or their paths; empty: found by usual names"
    )
    label_column: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default=[],
        description="table: column of the classes or numbers, or several, one per label, class or number; empty: "
        "found by usual names",
    )
    classes: list[str] = Field(
        default=[], description="ordinal: all classes in order, lowest first; empty: in the order of their numbers"
    )
    split_column: str = Field(
        default="", description="table: column with train, val or test; empty: found by usual names"
    )
    group_column: str = Field(
        default="", description="table: column such as a patient's id whose images stay in one split; empty: none"
    )
    class_depth: int = Field(
        default=0, ge=0, le=2, description="folder: 1: the top folder names the class; 2: the one below; 0: found"
    )
    split: str = Field(
        default="auto",
        min_length=1,
        description="auto (the source's own splits, else random) | random | kfold | a file with the columns path and "
        "split, such as a run's splits.csv",
    )
    folds: int = Field(default=5, ge=2, le=100, description="kfold: number of folds; each validates once")
    fold: int = Field(
        default=1, ge=1, le=100, description="kfold: the fold that validates; `tltui train --folds` trains all"
    )
    limit_per_class: int = Field(
        default=0,
        ge=0,
        description="for a quick try: at most this many images per class, chosen by train.seed before decoding; where "
        "the source has splits, in each of them; 0: all",
    )
    val_fraction: float = Field(
        default=0.15, gt=0, le=0.8, description="share kept for validation where the source has no split of its own"
    )
    test_fraction: float = Field(
        default=0.15, ge=0, le=0.8, description="share kept for the final test where the source has no split of its own"
    )
    stratify: bool = Field(default=True, description="keep the classes' shares equal in all splits")
    channels: int = Field(
        default=3, ge=1, le=4, description="channels of the images: 1 grey, 3 RGB, 2 or 4 with transparency or infrared"
    )
    value_range: list[float] = Field(
        default=[],
        max_length=2,
        description="[low, high]: values of images of more than 8 bits that become black and white; empty: measured",
    )
    image_size: int = Field(default=0, ge=0, le=2048, description="image side in pixels; 0: as the weights expect")
    augment: Literal["none", "flip", "standard", "trivial"] = Field(
        default="none",
        description="random changes to training images: none, flip, "
        "standard (crop, flip, colour jitter), trivial (TrivialAugmentWide)",
    )
    views: int = Field(
        default=0,
        ge=0,
        le=256,
        description="augmented views cached per image and used in turn; 0: 8, with flip 2",
    )
    cache_gb: float = Field(
        default=0.0,
        ge=0,
        description="GiB of memory for features; the rest is read from the feature cache; 0: a quarter of free memory",
    )
    workers: int = Field(
        default=-1, ge=-1, le=256, description="worker processes that augment images; -1: chosen for the machine"
    )

    @property
    def resolved_source(self) -> str:
        """The source that is read: with "auto", the one for data.path."""
        return resolve_source(self.source, self.path, self.name)

    @property
    def fixed_value_range(self) -> tuple[float, float] | None:
        """``value_range`` as a pair; None where it is measured."""
        return (self.value_range[0], self.value_range[1]) if self.value_range else None


class ModelConfig(Section):
    """The pretrained network."""

    name: str = Field(
        default="efficientnet_lite0",
        min_length=1,
        description="a torchvision classifier | timm/NAME | hf-hub:OWNER/NAME | local-dir:FOLDER",
    )
    weights: str = Field(
        default="default",
        min_length=1,
        description="default | none | FILE | FILE#STATE_DICT | folder of a run or export | run:ID[@best|@last|@EPOCH]",
    )


class HeadConfig(Section):
    """The new classifier."""

    hidden: list[Annotated[int, Field(ge=1, le=65536)]] = Field(
        default=[], max_length=8, description="sizes of hidden layers before the last"
    )
    dropout: float = Field(
        default=0.2, ge=0, lt=1, description="share of features dropped before each layer of the head"
    )


class FreezeConfig(Section):
    """Which layers are trainable."""

    rules: list[str] = Field(
        default=["freeze *", "train head"],
        description='"freeze PATTERN" or "train PATTERN", last match wins; paths as the tree shows them, '
        'a path covers all below it; "head" is the new classifier, "norms" all normalization layers',
        json_schema_extra=LIVE,
    )
    norm_stats: Literal["follow", "frozen"] = Field(
        default="follow", description="batch statistics: follow (updated in trainable layers) or frozen (never updated)"
    )

    @model_validator(mode="after")
    def _rules_can_be_read(self) -> FreezeConfig:
        parse_rules(self.rules)
        return self


class OptimizerConfig(Section):
    """How weights are updated."""

    name: Annotated[str, Choices(OPTIMIZERS)] = Field(default="adamw", description="optimizer")
    lr: Rate = Field(default=1e-3, description="learning rate of the head", json_schema_extra=LIVE)
    backbone_lr_factor: Rate = Field(
        default=0.1, description="learning rate of trainable backbone layers: lr × this", json_schema_extra=LIVE
    )
    layer_decay: Decay = Field(
        default=1.0, description="layer-wise learning-rate decay: factor from a stage to the one below; 1: off"
    )
    weight_decay: float = Field(default=1e-2, ge=0, le=10, description="not applied to biases and norms")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="for sgd and rmsprop")
    clip_norm: float = Field(
        default=1.0, ge=0, description="gradients are scaled down to this norm; 0: off", json_schema_extra=LIVE
    )


class ScheduleConfig(Section):
    """How the learning rate changes over the run."""

    name: Annotated[str, Choices(SCHEDULES)] = Field(
        default="cosine", description=describe_choices((name, entry.help) for name, entry in SCHEDULES.items())
    )
    warmup_epochs: float = Field(default=0.0, ge=0, description="epochs of linear learning-rate warm-up from near 0")
    cycles: int = Field(default=3, ge=1, le=100, description="cosine_restarts: number of cycles within the run")
    cycle_mult: float = Field(
        default=2.0, ge=1, le=10, description="cosine_restarts: how many times as long each cycle is as the one before"
    )
    plateau_patience: int = Field(
        default=3, ge=0, description="plateau: epochs without a better train.score before the learning rate falls"
    )
    plateau_factor: float = Field(default=0.1, gt=0, lt=1, description="plateau: learning rate × this at each fall")


class Phase(Section):
    """One [[recipe.phases]] table: a freeze plan and learning rates for ``epochs``; None: as in [optimizer]."""

    epochs: int = Field(ge=1, le=100_000)
    rules: list[str]
    lr: Rate | None = None
    backbone_lr_factor: Rate | None = None
    layer_decay: Decay | None = None

    @model_validator(mode="after")
    def _rules_can_be_read(self) -> Phase:
        parse_rules(self.rules)
        return self


# The fields of a phase, with the setting that each overrides while the phase lasts.
PHASE_SETTINGS = {
    "rules": "freeze.rules",
    "lr": "optimizer.lr",
    "backbone_lr_factor": "optimizer.backbone_lr_factor",
    "layer_decay": "optimizer.layer_decay",
}


class RecipeConfig(Section):
    """Training in phases."""

    phases: list[Phase] = Field(
        default=[],
        max_length=100,
        description="[[recipe.phases]], one after the other, each with epochs, rules (as freeze.rules) and, where they "
        "differ from [optimizer], lr, backbone_lr_factor, layer_decay; the schedule restarts in each",
    )


class TrainConfig(Section):
    """The training itself."""

    epochs: int = Field(
        default=10,
        ge=1,
        le=100_000,
        description="passes over the training images; default with a recipe: the sum of its phases",
        json_schema_extra=LIVE,
    )
    batch_size: int = Field(default=32, ge=1, le=65536, description="images that go through the network together")
    accumulate: int = Field(
        default=1, ge=1, le=4096, description="batches per optimizer step: its gradient is the mean over all of them"
    )
    seed: int = Field(
        default=42, ge=0, lt=2**63, description="seed of splits, order, augmentation, dropout and the new head"
    )
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto | cpu | cuda | cuda:1 | mps"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="precision of the forward pass; auto: bf16 or fp16 on CUDA, bf16 or fp32 on CPU"
    )
    loss: Annotated[str, Choices(LOSSES, (AUTO,))] = Field(
        default=AUTO,
        description="auto (the task's own), " + describe_choices((name, entry.help) for name, entry in LOSSES.items()),
    )
    focal_gamma: float = Field(
        default=2.0,
        ge=0,
        le=10,
        description="focal: the higher, the less an image counts that is predicted well; 0: cross_entropy",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of the target spread over all classes")
    mixup: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="alpha of mixup: weighted means of two images, without cached features of training images; 0: off",
    )
    cutmix: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="alpha of cutmix: a part of another image, without cached features of training images; 0: off",
    )
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="balanced: rare classes, or a label's rare positives, weigh more in the loss"
    )
    score: Annotated[str, BeforeValidator(_as_score), Choices(SCORES, (AUTO,))] = Field(
        default=AUTO,
        description="validation metric that makes an epoch the best (ties: loss); auto: the task's own",
    )
    sampler: Literal["uniform", "balanced"] = Field(
        default="uniform",
        description="images of an epoch: uniform (each once) or balanced (each class equally often, with replacement)",
    )
    early_stop_patience: int = Field(
        default=0, ge=0, description="stop after this many epochs without a better train.score; 0: off"
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of an average of the weights, which is validated, exported and kept as the best; 0: off",
    )
    l2_sp: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="pull of backbone weights to those of the start, in place of weight decay there; 0: off",
    )
    on_nan: Literal["stop", "skip", "rollback"] = Field(
        default="stop",
        description="non-finite loss or gradient: stop, skip the step (9 in a row at most), or roll back a checkpoint",
    )
    processes: int = Field(
        default=1, ge=1, le=1024, description="processes on this machine that share each batch; above 1 by torchrun"
    )

    @property
    def step_size(self) -> int:
        """Images per optimizer step."""
        return self.batch_size * self.accumulate

    @property
    def mixes(self) -> str:
        """The setting that mixes training images, "" for none."""
        return "train.mixup" if self.mixup else "train.cutmix" if self.cutmix else ""


class LogConfig(Section):
    """Additional logs."""

    tensorboard: bool = Field(default=False, description="TensorBoard event files in the run's tensorboard/")


class RunConfig(Section):
    """All settings of one run, by section. Instances are immutable and valid."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    head: HeadConfig = HeadConfig()
    freeze: FreezeConfig = FreezeConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    recipe: RecipeConfig = RecipeConfig()
    train: TrainConfig = TrainConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _pixels_can_be_made(self) -> RunConfig:
        found, channels = self.data.value_range, self.data.channels
        if found and (len(found) < 2 or found[0] >= found[1]):
            raise ValueError(
                f"data.value_range = {found} can't be used: write [low, high] with low < high, or [] to measure"
            )
        if self.data.augment == "trivial" and channels not in (1, 3):
            raise ValueError(
                f'data.augment = "trivial" changes grey or RGB images, not those of {channels} channels; '
                'set data.augment = "standard" or data.channels = 3'
            )
        return self

    @model_validator(mode="after")
    def _data_fits_its_source(self) -> RunConfig:
        data = self.data
        source = DATA_SOURCES[data.source]
        key = source.identified_by
        if key and not getattr(data, key) and not (data.source == BY_PATH and data.name):
            needed = "" if data.source == BY_PATH else f', but data.source = "{data.source}" needs it'
            raise ValueError(f"data.{key} is empty{needed}; set data.{key} to {source.example}")
        if data.split == KFOLD and data.fold > data.folds:
            raise ValueError(f"data.fold = {data.fold} is not one of data.folds = {data.folds} folds; lower it")
        if data.val_fraction + data.test_fraction >= 1:
            raise ValueError("data.val_fraction and data.test_fraction leave nothing to train on; lower them")
        return self

    @model_validator(mode="after")
    def _weights_can_be_pulled_back(self) -> RunConfig:
        if self.train.l2_sp and self.model.weights == "none":
            raise ValueError(
                'train.l2_sp pulls weights to the pretrained ones, and model.weights = "none" has none; set it to 0'
            )
        return self

    @model_validator(mode="after")
    def _classes_are_balanced_once(self) -> RunConfig:
        if self.train.sampler == self.train.class_weights == "balanced":
            raise ValueError(
                'train.sampler = "balanced" and train.class_weights = "balanced" both make up for rare classes, and '
                'together overdo it; set train.class_weights = "none"'
            )
        return self

    @model_validator(mode="after")
    def _settings_fit_the_task(self) -> RunConfig:
        if self.data.task != AUTO:  # else the task is known once the dataset is open
            check_task_settings(self, self.data.task)
        return self


def check_task_settings(config: RunConfig, task: str) -> None:
    """Raises ValueError for a loss or score of another task, and for a setting that means nothing for this one."""
    loss_target(task, config.train.loss)
    score_of(task, config.train.score)
    fields = dict(settings())
    for key in TASKS[task].unused_settings:
        section, _, name = key.partition(".")
        default = fields[key].default
        if getattr(getattr(config, section), name) != default:
            raise ValueError(f'{key} means nothing for data.task = "{task}"; set {key} = {json.dumps(default)}')


def settings() -> Iterator[tuple[str, FieldInfo]]:
    """Every setting as (``section.key``, its pydantic field), in the order of run.toml."""
    for section_name, section_field in RunConfig.model_fields.items():
        section = section_field.annotation
        assert isinstance(section, type)
        assert issubclass(section, Section)
        for name, field in section.model_fields.items():
            yield f"{section_name}.{name}", field


def is_live(key: str) -> bool:
    """Whether ``section.key`` may be changed while the run trains."""
    extra = dict(settings())[key].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("live"))


def list_item(field: FieldInfo) -> type:
    """The type of a list field's items."""
    item = get_args(field.annotation)[0]
    return get_args(item)[0] if get_origin(item) is Annotated else item


def is_list_of_tables(field: FieldInfo) -> bool:
    """Whether a field is a list whose items are tables with settings of their own."""
    return get_origin(field.annotation) is list and issubclass(list_item(field), Section)
