"""Evaluates a classifier on a split: metrics, evaluation/SPLIT.json and a simple baseline."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import torch

from engine.compute.loss import most_probable
from engine.compute.task import LabelledOutputs, PredictionWriter
from engine.config.tasks import TASKS, TaskSpec
from engine.data.prepare import Data
from engine.evaluation.accumulator import MetricAccumulator, accuracy_interval
from engine.evaluation.metrics import compute_metrics
from engine.runs.events import Baseline, Evaluated
from engine.runs.folder import RunFolder, write_or_warn
from engine.runs.json_floats import encode_float
from engine.warning_codes import Warn


def evaluate(
    spec: TaskSpec,
    split: str,
    batches: Iterable[LabelledOutputs],
    paths: Iterable[str],
    predictions: PredictionWriter | None = None,
    predict: Callable[[torch.Tensor], torch.Tensor] = lambda logits: logits.argmax(1),
) -> Evaluated:
    """Compute the metrics of a split from its logits, and write each prediction to ``predictions``.

    ``paths``: of the images, in the order of ``batches``. ``predict``: logits (N, classes) → classes (N,).
    """
    start = time.monotonic()
    classes = spec.classes
    accumulator = MetricAccumulator(classes)
    names = iter(paths)
    for logits, targets in batches:
        predicted = predict(logits)
        if predictions:
            texts = _names(classes, most_probable(targets)), _names(classes, predicted)
            predictions.write(list(itertools.islice(names, len(targets))), *texts, logits.softmax(1))
        accumulator.add(logits, targets, predicted)
    seconds = time.monotonic() - start
    values = compute_metrics(accumulator, spec.task)
    fields: dict[str, Any] = {name: value for name, value in values.items() if name in Evaluated.__struct_fields__}
    score = TASKS[spec.task].score
    return Evaluated(
        task=spec.task,
        score=score,
        split=split,
        count=accumulator.count,
        nonfinite=encode_float(accumulator.loss_sum)[1],
        accuracy_interval=accuracy_interval(accumulator.correct, accumulator.count) if score == "accuracy" else None,
        metrics={name: value for name, value in values.items() if name not in fields},
        reliability=accumulator.calibration.bins,
        classes=list(classes),
        per_class=accumulator.per_class,
        confusion=accumulator.confusion.tolist(),
        images_per_second=round(accumulator.count / seconds, 1),
        **fields,
    )


def _names(classes: Sequence[str], places: torch.Tensor) -> list[str]:
    return [classes[int(at)] for at in places.tolist()]


def write_evaluation(folder: RunFolder, evaluated: Evaluated, warn: Warn) -> None:
    """Write the event to evaluation/SPLIT.json. A failure emits a warning."""
    with suppress(OSError):
        folder.evaluation.mkdir(exist_ok=True, mode=0o700)
    content = msgspec.json.format(msgspec.json.encode(evaluated), indent=1)
    write_or_warn(folder.evaluation / f"{evaluated.split}.json", content, warn)


def logistic_regression_on_pixels(data: Data, split: str) -> Baseline:
    """Fit logistic regression on the raw pixels of the digits dataset: the baseline that a network has to beat."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pixels, labels = load_digits(return_X_y=True)
    rows = {name: [int(data.samples[i].key.removeprefix("digit-")) for i in data.splits[name]] for name in data.splits}
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(pixels[rows["train"]], labels[rows["train"]])
    accuracy = float(np.mean(model.predict(pixels[rows[split]]) == labels[rows[split]]))
    return Baseline(name="logistic regression on the raw pixels", split=split, accuracy=accuracy)
