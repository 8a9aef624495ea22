"""The final evaluation of a run."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from contextlib import suppress
from statistics import fmean

import msgspec
import torch

from engine.data.prepare import Data
from engine.evaluation.metrics import Tally, accuracy_interval, balanced_accuracy, per_class, weighted_f1
from engine.evaluation.predictions import PredictionsFile
from engine.evaluation.ranking import mean_of
from engine.runs.events import Baseline, Evaluated, finite
from engine.runs.folder import RunFolder, write_or_warn
from engine.warning_codes import Warn

Answers = tuple[torch.Tensor, torch.Tensor]  # logits (N, classes) in fp32 and labels (N,), of one batch


def evaluate(
    classes: list[str],
    split: str,
    answers: Iterable[Answers],
    paths: Iterable[str],
    predictions: PredictionsFile | None = None,
) -> Evaluated:
    """Figures of a classifier's ``answers`` to the images of a split at ``paths``; they go to ``predictions``, too.

    Takes no more memory for many images than for few, but for the first hundred thousand's probabilities.
    """
    start = time.monotonic()
    tally = Tally(len(classes))
    names = iter(paths)
    for logits, labels in answers:
        if predictions:
            predictions.write(list(itertools.islice(names, len(labels))), labels, logits.softmax(1))
        tally.add(logits, labels)
    seconds = time.monotonic() - start
    log_loss, nonfinite = finite(tally.loss / tally.count)
    figures = per_class(tally, classes)
    return Evaluated(
        split=split,
        count=tally.count,
        log_loss=log_loss,
        nonfinite=nonfinite,
        accuracy=tally.correct / tally.count,
        accuracy_interval=accuracy_interval(tally.correct, tally.count),
        balanced_accuracy=balanced_accuracy(tally),
        macro_f1=fmean(one.f1 for one in figures),
        weighted_f1=weighted_f1(figures),
        top5=tally.in_top5 / tally.count if len(classes) > 5 else None,
        roc_auc=mean_of([one.roc_auc for one in figures if one.roc_auc is not None]),
        average_precision=mean_of([one.average_precision for one in figures if one.average_precision is not None]),
        ece=tally.calibration.error if tally.sound else None,
        reliability=tally.calibration.bins,
        classes=classes,
        per_class=figures,
        confusion=tally.confusion.tolist(),
        images_per_second=round(tally.count / seconds, 1),
    )


def write_evaluation(folder: RunFolder, evaluated: Evaluated, warn: Warn) -> None:
    """evaluation/SPLIT.json: the event's figures, for those who look at files. ``warn`` is told where that fails."""
    with suppress(OSError):
        folder.evaluation.mkdir(exist_ok=True, mode=0o700)
    content = msgspec.json.format(msgspec.json.encode(evaluated), indent=1)
    write_or_warn(folder.evaluation / f"{evaluated.split}.json", content, warn)


def logistic_regression_on_pixels(data: Data, split: str) -> Baseline:
    """What a linear model makes of the bare pixels, on the same images: does the network earn its keep?"""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pixels, labels = load_digits(return_X_y=True)
    place = {name: [int(data.samples[i].key.removeprefix("digit-")) for i in data.splits[name]] for name in data.splits}
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(pixels[place["train"]], labels[place["train"]])
    accuracy = float(np.mean(model.predict(pixels[place[split]]) == labels[place[split]]))
    return Baseline(name="logistic regression on the raw pixels", split=split, accuracy=accuracy)
