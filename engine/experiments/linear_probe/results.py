"""Results of linear probes on pretrained networks. Imports no torch."""

from __future__ import annotations

import msgspec

HEAD_INPUT = "head's input"
"""The name of the last stage: the features that the head receives."""


class Stage(msgspec.Struct):
    """A linear probe on the pooled output of one stage.

    - ``paths``: of the stage's layers, none for the head's input.
    - ``features``: their number per image.
    - ``accuracy``: on validation images.
    - ``adds``: accuracy above the previous stage's, of the first stage above chance level (the majority class).
    - ``lead``: accuracy above that at the head's input; ``lead_error``: its standard error, paired over images.
    - ``logme``: see ``engine.experiments.linear_probe.logme``.
    """

    name: str
    paths: list[str]
    features: int
    accuracy: float
    adds: float
    lead: float
    lead_error: float
    logme: float


class SourcePredictions(msgspec.Struct):
    """Statistics of the pretrained classifier's predictions over its own ``classes``.

    ``confidence``: mean of the highest probability. ``answers``: the effective number of predicted classes, which is
    the exponential of the mutual information of image and prediction; 1 where all predictions are the same.
    """

    classes: int
    confidence: float
    answers: float


class Backbone(msgspec.Struct):
    """The probes of a network.

    ``stages``: from input to output, the head's input last. ``mirrored``: accuracy of the probe at the head's input on
    mirrored images. ``source``: None without a pretrained classifier.
    """

    model: str
    pretrained: bool
    parameters: int
    stages: list[Stage]
    mirrored: float
    source: SourcePredictions | None

    @property
    def head(self) -> Stage:
        """The probe at the head's input. A new linear head on frozen features comes close to it."""
        return self.stages[-1]


class ImageCounts(msgspec.Struct):
    """Numbers of images: of each split, and ``used_train`` and ``used_val`` of them in the probes."""

    classes: int
    train: int
    val: int
    used_train: int
    used_val: int


class Recommendation(msgspec.Struct):
    """What to train, and why.

    - ``model``: the network to train.
    - ``trains``: "head", "stages" or "everything".
    - ``large``: whether the dataset is large.
    - ``similar``: whether the task is similar to the pretraining task, None where that can't be judged.
    - ``settings``: by key.
    - ``reasons``: one sentence each.
    """

    model: str
    trains: str
    large: bool
    similar: bool | None
    settings: dict[str, str | float | list[str]]
    reasons: list[str]


class ProbeResults(msgspec.Struct):
    """The result of probing one or more networks. ``backbones``: highest LogME at the head's input first."""

    images: ImageCounts
    backbones: list[Backbone]
    recommendation: Recommendation
