"""Whether an export answers as the checkpoint does."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.errors import InputError
from engine.export.predictor import Answer
from engine.export.sample_images import Samples
from engine.runs.progress import Report

_BATCH = 8
_TOLERANCE = 1e-3  # of a probability; fp32 sums in another order differ by a thousandth of this


@dataclass(frozen=True)
class Comparison:
    """Largest differences between two networks' answers to ``images``; ``logits`` relative to the largest logit."""

    probability: float
    logits: float
    images: str


def compare(checkpoint: Answer, export: Answer, samples: Samples, report: Report) -> Comparison:
    """Both networks' answers to the same images, in batches of different sizes, the first of one image.

    Raises InputError where they differ by more than rounding.
    """
    images = samples.images
    batches = [images[:1], *images[1:].split(_BATCH)] if len(images) > 1 else [images]
    ours, theirs = [], []
    for batch in batches:
        ours.append(checkpoint(batch))
        theirs.append(export(batch))
        report("compare", sum(map(len, ours)), len(images), "images")
    mine, its = torch.cat(ours), torch.cat(theirs)
    apart = mine.softmax(1).sub(its.softmax(1)).abs().max().item()
    logits = (mine.sub(its).abs().max() / mine.abs().max().clamp(min=1.0)).item()
    if not apart <= _TOLERANCE:  # nor where it is no number
        raise InputError(
            "the export answers otherwise than the checkpoint, so it was not kept (probabilities differ by "
            f"{apart:.2g} on {samples.said}); use another --format"
        )
    return Comparison(apart, logits, samples.said)
