"""Compares an export's predictions with those of the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.compute.task import Task
from engine.errors import InputError
from engine.export.predictor import ComputeOutputs
from engine.export.sample_images import Samples
from engine.runs.progress import Report

_BATCH = 8
_TOLERANCE = 1e-3  # of a probability; reordered fp32 sums change it by a thousandth of this


@dataclass(frozen=True)
class Comparison:
    """Largest differences between two networks' predictions on ``images``.

    ``probability``: absolute; of predicted numbers, in standard deviations. ``logits``: of the outputs, relative to
    the largest one. ``compared``: what ``probability`` is a difference of, "a probability".
    """

    probability: float
    logits: float
    images: str
    compared: str = "a probability"


def verify(
    task: Task, checkpoint: ComputeOutputs, export: ComputeOutputs, samples: Samples, report: Report
) -> Comparison:
    """Compare both networks on the same images, in batches of one and of several.

    Raises InputError where predictions differ by more than rounding.
    """
    images = samples.images
    batches = [images[:1], *images[1:].split(_BATCH)] if len(images) > 1 else [images]
    expected, actual = [], []
    for batch in batches:
        expected.append(checkpoint(batch))
        actual.append(export(batch))
        report("compare", sum(map(len, expected)), len(images), "images")
    want, got = torch.cat(expected), torch.cat(actual)
    comparable = task.export.comparable
    difference = comparable(want).sub(comparable(got)).abs().max().item()
    logits = (want.sub(got).abs().max() / want.abs().max().clamp(min=1.0)).item()
    if not difference <= _TOLERANCE:  # also catches NaN
        raise InputError(
            f"the export's predictions differ from the checkpoint's by up to {difference:.2g} in "
            f"{task.export.compared} on {samples.description}, so it was not kept; use another --format"
        )
    return Comparison(difference, logits, samples.description, task.export.compared)
