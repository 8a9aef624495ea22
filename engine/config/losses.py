"""The losses that train.loss takes: adding one is an entry here and one in each task that has it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LossEntry:
    """``help`` follows the name in the setting's description. ``settings``: further keys of [train] that it takes."""

    help: str
    settings: tuple[str, ...] = ()


LOSSES = {
    "cross_entropy": LossEntry("(binary for multilabel)"),
    "focal": LossEntry("(images that are predicted well count less)", ("focal_gamma",)),
    "corn": LossEntry("(of ranks)"),
    "mse": LossEntry("(squared errors of numbers)"),
    "l1": LossEntry("(absolute errors)"),
    "huber": LossEntry("(squared up to a standard deviation, absolute beyond)"),
}
