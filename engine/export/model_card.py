"""The model card: what an export is, how good it is, how to load it."""

from __future__ import annotations

from engine.config.phases import in_words
from engine.config.schema import RunConfig
from engine.evaluation.load_run import Trained
from engine.export import onnx_file
from engine.export.metadata import About
from engine.export.plain_network import plain_network
from engine.export.snippets import snippet
from engine.export.verify import Comparison
from engine.files.markdown import at_start
from engine.runs.events import Evaluated
from engine.runs.folder import data_label
from engine.runs.start_weights import is_run
from engine.runs.weights_text import weights_text

_MOST_CLASSES = 100  # named in the card; export.json has them all
_NEEDS = {
    "safetensors": "`pip install {library} safetensors`",
    "onnx": "`pip install onnxruntime pillow`",
    "pt2": "`pip install torch pillow numpy`",
}
_CONTENT = {
    "safetensors": "The weights are those of the plain network of its library.",
    "onnx": f"Opset {onnx_file.OPSET}. Input `{onnx_file.INPUT}`: uint8 (N, 3, {{side}}, {{side}}), RGB, for any N. "
    f"Output `{onnx_file.OUTPUT}`: float32 (N, {{classes}}). Mean and standard deviation are part of it.",
    "pt2": "A program of torch.export. Input: uint8 (N, 3, {side}, {side}), RGB, for any N, on the processor. Output: "
    "logits, float32 (N, {classes}). Mean and standard deviation are part of it. Loading a .pt2 file can run code "
    "that is in it: load only one that you wrote or whose writer you trust.",
}


def card(trained: Trained, about: About, format_name: str, compared: Comparison) -> str:
    """Markdown, with all names from outside escaped."""
    plain = plain_network(trained.classifier, len(trained.classes))
    content = _CONTENT[format_name].format(side=about.preprocessing.image_size, classes=len(about.classes))
    parts = [
        f"# {at_start(about.model)} on {at_start(data_label(trained.config))}",
        f"Made by tltui from the run {at_start(about.run)} ({at_start(trained.checkpoint)}) at {about.created}. "
        f"{content}",
        "## Load it",
        f"{_NEEDS[format_name].format(library=plain.library)}, then, in this folder, "
        "`python predict.py IMAGE…` with this as `predict.py`:",
        f"```python\n{snippet(format_name, plain)}```",
        "## Figures",
        _figures(trained),
        f"Loaded again and compared with the checkpoint on {at_start(compared.images)}: probabilities differ by at "
        f"most {compared.probability:.1e}.",
        "## Data",
        _data(trained),
        "## Classes",
        _classes(about.classes),
        "## Preprocessing",
        _preprocessing(about),
        "## Training",
        _training(trained),
        "## Versions",
        ", ".join(f"{at_start(name)} {at_start(version)}" for name, version in about.versions.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _figures(trained: Trained) -> str:
    figures = trained.state.evaluations.values()
    if not figures or not trained.best:
        return "These weights have not been evaluated."
    rows = [
        "| split | images | accuracy | 95 % interval | balanced | macro F1 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*rows, *map(_figures_row, figures)])


def _figures_row(one: Evaluated) -> str:
    low, high = one.accuracy_interval
    cells = (
        at_start(one.split), f"{one.count:,}", f"{one.accuracy:.1%}", f"{low:.1%} – {high:.1%}",
        f"{one.balanced_accuracy:.1%}", f"{one.macro_f1:.3f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _data(trained: Trained) -> str:
    data = trained.state.data
    assert data is not None
    counts = ", ".join(f"{count:,} {at_start(split)}" for split, count in data.counts.items())
    skipped = f" {len(data.skipped)} files could not be read." if data.skipped else ""
    return f"{at_start(data_label(trained.config))} ({trained.config.data.source}): {counts} images.{skipped}"


def _classes(classes: list[str]) -> str:
    lines = [f"{number}. {at_start(name)}" for number, name in enumerate(classes[:_MOST_CLASSES])]
    more = [f"… and {len(classes) - _MOST_CLASSES} more, see export.json"] if len(classes) > _MOST_CLASSES else []
    return "In the order of the outputs:\n\n" + "\n".join([*lines, *more])


def _preprocessing(about: About) -> str:
    how = about.preprocessing
    steps = [
        "the image upright, as its EXIF data say, in RGB; transparency over white, 16 bits scaled to 8; of what is "
        "wider or higher than 2 : 1 the middle",
        f"its shorter side resized to {how.resize_size} pixels with Pillow's {how.interpolation} filter, antialiased",
        f"the square of {how.image_size} pixels in its middle",
        f"channels in the order red, green, blue; values divided by 255, less mean {list(how.mean)}, divided by "
        f"standard deviation {list(how.std)}",
    ]
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    beside = "`images.py` does all but the last step exactly as training did; the numbers are in `export.json`."
    return f"{beside}\n\n{numbered}"


def _training(trained: Trained) -> str:
    config, state = trained.config, trained.state
    best = state.best
    counts = state.parameters
    trains = f"\n\n{counts.trainable:,} of {counts.total:,} parameters train at the end." if counts else ""
    weights = at_start(_weights(trained))
    lines = [
        f"Pretrained weights: {weights}. {len(state.epochs)} epochs"
        + (f", the best was {best.epoch}" if best else "")
        + f". {config.optimizer.name}, lr {config.optimizer.lr:g}, batch {config.train.batch_size}, "
        f"augmentation {config.data.augment}, seed {config.train.seed}.",
        f"{_plan(config)}{trains}",
    ]
    return "\n\n".join(lines)


def _weights(trained: Trained) -> str:
    """Without the path, which may hold names of people."""
    name = trained.config.model.weights
    kind = name if name in ("default", "none") else "an earlier run" if is_run(name) else "a file"
    details = weights_text(trained.state.model.weights) if trained.state.model else ""
    return f"{kind} ({details})" if details else kind


def _plan(config: RunConfig) -> str:
    if config.recipe.phases:
        what = "Phases, in each of which the last rule that covers a layer decides:"
        listed = [f"{number}. {at_start(in_words(phase))}" for number, phase in enumerate(config.recipe.phases, 1)]
    else:
        what = "Freeze plan, the last rule that covers a layer decides:"
        listed = [f"- {at_start(rule)}" for rule in config.freeze.rules] or ["- all layers train"]
    return "\n\n".join([what, "\n".join(listed)])
