"""What probing a pretrained network found. Imports no torch."""

from __future__ import annotations

import msgspec

HEAD_INPUT = "head's input"
"""The name of the last row: what the classifier is given."""


class Stage(msgspec.Struct):
    """A linear probe on the pooled output of one stage.

    ``paths``: of the layers that it holds, none for the head's input; ``features``: numbers an image; ``accuracy``: on
    validation images; ``adds``: what it is above that of the stage before, of the first above always the same answer;
    ``lead``: what it is above that of the head's input, with its standard error over the same images; ``logme``: see
    ``engine.experiments.linear_probe.logme``.
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
    """What the pretrained classifier says of the images, over its own ``classes``.

    ``confidence``: mean of its highest probability; ``answers``: how many of its classes the images are spread over,
    the exponential of the mutual information of image and answer, 1 where it says the same of all.
    """

    classes: int
    confidence: float
    answers: float


class Backbone(msgspec.Struct):
    """A network's probes. ``stages``: from the input on, the head's input last; ``mirrored``: accuracy of the probe at
    the head's input on mirrored images; ``source``: None where there is no pretrained classifier to ask."""

    model: str
    pretrained: bool
    parameters: int
    stages: list[Stage]
    mirrored: float
    source: SourcePredictions | None

    @property
    def head(self) -> Stage:
        """The probe that a new linear head on frozen features comes near to."""
        return self.stages[-1]


class ImageCounts(msgspec.Struct):
    """``train`` and ``val``: how many there are; ``used_train`` and ``used_val``: how many of them the probes saw."""

    classes: int
    train: int
    val: int
    used_train: int
    used_val: int


class Recommendation(msgspec.Struct):
    """``trains``: "head", "stages" or "everything"; ``model``: with which network; ``large`` and ``similar``: how data
    and task were judged, the latter None where nothing tells; ``settings``: by key; ``reasons``: a sentence each."""

    model: str
    trains: str
    large: bool
    similar: bool | None
    settings: dict[str, str | float | list[str]]
    reasons: list[str]


class ProbeResults(msgspec.Struct):
    """``backbones``: the one with the highest LogME at the head's input first."""

    images: ImageCounts
    backbones: list[Backbone]
    recommendation: Recommendation
