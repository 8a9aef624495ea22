"""The final evaluation of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from statistics import fmean

import msgspec
import torch

from engine.data.prepare import Data
from engine.evaluation.metrics import Tally, accuracy_interval, balanced_accuracy, per_class
from engine.evaluation.predictions import PredictionsFile
from engine.protocol import Baseline, Evaluated, finite
from engine.rundir import RunFolder, write_or_warn

Answers = tuple[torch.Tensor, torch.Tensor]  # logits (N, classes) in fp32 and labels (N,), of one batch


def evaluate(data: Data, split: str, answers: Iterable[Answers], predictions: PredictionsFile | None) -> Evaluated:
    """Figures of a classifier's ``answers`` to one split of ``data``; each goes to ``predictions``, too."""
    start = time.monotonic()
    members = data.splits[split]
    tally = Tally(len(data.classes))
    for logits, labels in answers:
        if predictions:
            paths = [data.pictures[i].key for i in members[tally.count : tally.count + len(labels)]]
            predictions.write(paths, labels, logits.softmax(1))
        tally.add(logits, labels)
    loss, nonfinite = finite(tally.loss / tally.count)
    classes = per_class(tally, data.classes)
    return Evaluated(
        split=split,
        count=tally.count,
        loss=loss,
        nonfinite=nonfinite,
        accuracy=tally.correct / tally.count,
        accuracy_interval=accuracy_interval(tally.correct, tally.count),
        balanced_accuracy=balanced_accuracy(tally),
        macro_f1=fmean(one.f1 for one in classes),
        classes=data.classes,
        per_class=classes,
        confusion=tally.confusion.tolist(),
        images_per_second=round(tally.count / (time.monotonic() - start), 1),
    )


def write_evaluation(folder: RunFolder, evaluated: Evaluated, warn: Callable[[str, str], None]) -> None:
    """evaluation/SPLIT.json: the event's figures, for those who look at files. ``warn`` is told where that fails."""
    with suppress(OSError):
        folder.evaluation.mkdir(exist_ok=True, mode=0o700)
    content = msgspec.json.format(msgspec.json.encode(evaluated), indent=1)
    write_or_warn(folder.evaluation / f"{evaluated.split}.json", content, warn)


def logistic_regression_on_pixels(data: Data, split: str) -> Baseline:
    """What a linear model makes of the bare pixels, on the same pictures: does the network earn its keep?"""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pixels, labels = load_digits(return_X_y=True)
    place = {
        name: [int(data.pictures[i].key.removeprefix("digit-")) for i in data.splits[name]] for name in data.splits
    }
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(pixels[place["train"]], labels[place["train"]])
    accuracy = float(np.mean(model.predict(pixels[place[split]]) == labels[place[split]]))
    return Baseline(name="logistic regression on the raw pixels", split=split, accuracy=accuracy)
