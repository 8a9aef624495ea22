"""The model card (README.md) of an export: what it is, how good it is, and how to load it."""

from __future__ import annotations

from engine.config.phases import phase_text
from engine.config.schema import RunConfig
from engine.config.tasks import TASKS
from engine.evaluation.load_run import TrainedRun
from engine.evaluation.metrics import METRICS, interval_text
from engine.export.format_writer import FormatWriter
from engine.export.metadata import ExportMetadata
from engine.export.plain_network import plain_network
from engine.export.verify import Comparison
from engine.files.markdown import at_start
from engine.models.preprocessing import Preprocessing
from engine.runs.folder import data_label
from engine.runs.start_weights import is_run
from engine.runs.weights_text import weights_text

_MOST_CLASSES = 100  # listed in the card; export.json has all


def model_card(trained: TrainedRun, metadata: ExportMetadata, writer: FormatWriter, comparison: Comparison) -> str:
    """The card as Markdown, with every name from outside escaped."""
    plain = plain_network(trained.classifier, len(trained.task.outputs))
    parts = [
        f"# {at_start(metadata.model)} on {at_start(data_label(trained.config))}",
        f"Exported by tltui from run {at_start(metadata.run)} ({at_start(trained.checkpoint)}) at {metadata.created}. "
        f"{writer.describe(metadata)}",
        "## Load it",
        f"Run `{writer.install(plain)}`. Save this script as `predict.py` in this folder and run "
        "`python predict.py IMAGE…`:",
        f"```python\n{writer.script(plain, trained.task)}```",
        "## Metrics",
        _metrics(trained),
        f"Loaded again and compared with the checkpoint on {at_start(comparison.images)}: "
        f"{trained.task.export.compared} differs by at most {comparison.probability:.1e}.",
        "## Dataset",
        _dataset(trained),
        f"## {TASKS[metadata.task].plural.capitalize()}",
        _classes(metadata.classes),
        "## Preprocessing",
        _preprocessing(metadata),
        "## Training",
        _training(trained),
        "## Versions",
        ", ".join(f"{at_start(name)} {at_start(version)}" for name, version in metadata.versions.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _metrics(trained: TrainedRun) -> str:
    evaluations = list(trained.state.evaluations.values())
    if not evaluations or not trained.best:
        return "These weights have not been evaluated."
    rows = [["", *(at_start(one.split) for one in evaluations)], ["---"] * (1 + len(evaluations))]
    rows.append(["images", *(f"{one.count:,}" for one in evaluations)])
    for metric in METRICS.values():
        values = [metric.value(one) for one in evaluations]
        if any(value is not None for value in values):
            cells = ["" if value is None else metric.format(value) for value in values]
            rows.append([metric.label, *cells])
    if any(one.accuracy_interval for one in evaluations):
        rows.append(["accuracy, 95 % interval", *map(interval_text, evaluations)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _dataset(trained: TrainedRun) -> str:
    data = trained.state.data
    assert data is not None
    counts = ", ".join(f"{count:,} {at_start(split)}" for split, count in data.counts.items())
    skipped = f" {len(data.skipped)} files could not be read." if data.skipped else ""
    return f"{at_start(data_label(trained.config))} ({trained.config.data.resolved_source}): {counts} images.{skipped}"


def _classes(classes: list[str]) -> str:
    lines = [f"{number}. {at_start(name)}" for number, name in enumerate(classes[:_MOST_CLASSES])]
    more = [f"… and {len(classes) - _MOST_CLASSES} more, see export.json"] if len(classes) > _MOST_CLASSES else []
    return "In the order of the outputs:\n\n" + "\n".join([*lines, *more])


def _preprocessing(metadata: ExportMetadata) -> str:
    preprocessing = metadata.preprocessing
    steps = [
        f"Rotate as EXIF says, convert to {metadata.channels}{_transparency(preprocessing)}. "
        f"{_deep_images(preprocessing)} Images beyond an aspect ratio of 2 : 1 are cropped to their centre.",
        f"Resize the shorter side to {preprocessing.resize_size} pixels with Pillow's {preprocessing.interpolation} "
        "filter, antialiased.",
        f"Crop the centre square of {preprocessing.image_size} pixels.",
        f"Divide values by 255, subtract mean {list(preprocessing.mean)}, divide by standard deviation "
        f"{list(preprocessing.std)}{', channels in the order red, green, blue' if preprocessing.channels > 2 else ''}.",
    ]
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    return (
        f"`images.py` does all but the last step exactly as in training; `export.json` has the numbers.\n\n{numbered}"
    )


def _transparency(preprocessing: Preprocessing) -> str:
    return ", transparency over white" if preprocessing.channels in (1, 3) else " as stored, 255 where it has none"


def _deep_images(preprocessing: Preprocessing) -> str:
    """The sentence on images of more than 8 bits."""
    if preprocessing.value_range is None:
        return "Values of more than 8 bits are scaled from the range of their type to 0 … 255."
    low, high = preprocessing.value_range
    return f"Values of more than 8 bits are scaled from {low:g} … {high:g} to 0 … 255 and clipped."


def _training(trained: TrainedRun) -> str:
    config, state = trained.config, trained.state
    best, counts = state.best, state.parameters
    trainable = f"\n\n{counts.trainable:,} of {counts.total:,} parameters trainable at the end." if counts else ""
    weights = at_start(_weights(trained))
    return (
        f"Pretrained weights: {weights}. {len(state.epochs)} epochs"
        + (f", the best was {best.epoch}" if best else "")
        + f". {config.optimizer.name}, lr {config.optimizer.lr:g}, batch size {config.train.step_size}, "
        f"augmentation {config.data.augment}, seed {config.train.seed}.\n\n{_freeze_plan(config)}{trainable}"
    )


def _weights(trained: TrainedRun) -> str:
    """The kind of weights and what was loaded, without the path: it may hold names of people."""
    name = trained.config.model.weights
    kind = name if name in ("default", "none") else "an earlier run" if is_run(name) else "a file"
    details = weights_text(trained.state.model.weights) if trained.state.model else ""
    return f"{kind} ({details})" if details else kind


def _freeze_plan(config: RunConfig) -> str:
    if config.recipe.phases:
        heading = "Phases; in each, the last rule that matches a layer decides:"
        listed = [f"{number}. {at_start(phase_text(phase))}" for number, phase in enumerate(config.recipe.phases, 1)]
    else:
        heading = "Freeze plan; the last rule that matches a layer decides:"
        listed = [f"- {at_start(rule)}" for rule in config.freeze.rules] or ["- all layers trainable"]
    return "\n\n".join([heading, "\n".join(listed)])
