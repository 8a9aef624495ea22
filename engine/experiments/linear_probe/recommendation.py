"""Recommends what to train: the head, the last stages or everything, and at which rates. Imports no torch; pure.

The four cases are those of Stanford's CS231n notes on transfer learning (cs231n.github.io/transfer-learning): few or
many images × a task similar to the pretraining task or not. Yosinski et al. 2014 (1411.1792) measured that features
transfer less well the deeper they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.experiments.linear_probe.results import (
    Backbone,
    ImageCounts,
    Recommendation,
    SourcePredictions,
    Stage,
)

MANY_IMAGES = 500  # for training; with fewer than these, or than so many a class, a whole network overfits
MANY_A_CLASS = 50
CONFIDENT = 0.5  # mean highest probability of the pretrained classifier; on its own task it is 0.6 to 0.8
# Images similar to the pretraining images spread over twice as many of its classes as they have, or over 8.
SPREAD_A_CLASS, SPREAD = 2, 8
SIGNIFICANT = 2.0  # standard errors by which an earlier stage has to lead
FEW_STAGES = 0.5  # of the stages: the most that are trainable with few images
FLIP_TOLERANCE = 0.03  # accuracy that mirroring may cost the probe while flips are still recommended

# For AdamW. A new head alone takes a high rate. Pretrained layers take a tenth of a lower rate where their features
# transfer. They take a third where features have to change: at a tenth, ten epochs of few images hardly change them.
HEAD_RATE, RATE = 3e-3, 1e-3
KEEPING_FACTOR, CHANGING_FACTOR = 0.1, 0.3
_WARMUP = 1.0  # epochs; keeps the new head's first gradients from changing the backbone at the full rate


def recommend(backbone: Backbone, images: ImageCounts) -> Recommendation:
    """Recommend what to train, with reasons."""
    large, size = _size(images)
    if not backbone.pretrained:
        reasons = ["The network has no pretrained weights, so nothing transfers: train all layers.", size]
        reasons.append("Task similarity can't be judged without pretrained weights.")
        return Recommendation(backbone.model, "everything", large, None, _everything(HEAD_RATE, 1.0), reasons)
    best = best_stage(backbone.stages)
    similar, likeness = _similar(backbone, best, images.classes)
    reasons = [size, *likeness, _depth(backbone, best)]
    if large:
        if similar:
            settings = _everything(RATE, KEEPING_FACTOR)
            reasons.append("Enough images to fine-tune all layers; low learning rates preserve features that transfer.")
        else:
            settings = _everything(HEAD_RATE, CHANGING_FACTOR)
            reasons.append("Enough images to fine-tune all layers; features have to change: higher learning rates.")
        return Recommendation(backbone.model, "everything", large, similar, settings, reasons)
    if similar:
        reasons.append("Few images and features that transfer: train only the new head, to avoid overfitting.")
        settings = {"freeze.rules": ["freeze *", "train head"], **_rates(HEAD_RATE)}
        return Recommendation(backbone.model, "head", large, similar, settings, reasons)
    later = _later(backbone.stages, best)
    reasons.append(
        f"Few images, and the last features do not transfer: train {_names(later)} and the head at low learning rates, "
        "keep earlier stages frozen."
    )
    augment, why = _augment(backbone)
    rules = ["freeze *", *(f"train {path}" for stage in later for path in stage.paths), "train head"]
    settings = {"freeze.rules": rules, **_rates(HEAD_RATE, CHANGING_FACTOR), "data.augment": augment}
    return Recommendation(backbone.model, "stages", large, similar, settings, [*reasons, why])


def best_stage(stages: Sequence[Stage]) -> Stage:
    """The earliest stage within one standard error of the best (the rule of Breiman et al. 1984)."""
    best = max(stages, key=lambda stage: stage.accuracy)
    return next(stage for stage in stages if stage.accuracy >= best.accuracy - best.lead_error)


def _size(images: ImageCounts) -> tuple[bool, str]:
    a_class = images.train / images.classes
    large = images.train >= MANY_IMAGES and a_class >= MANY_A_CLASS
    counts = f"{images.train:,} training images, {a_class:,.0f} per class"
    threshold = f"{MANY_IMAGES:,} and {MANY_A_CLASS} per class"
    return large, f"Dataset: {'large' if large else 'small'}: {counts} (large: from {threshold})."


def _similar(backbone: Backbone, best: Stage, classes: int) -> tuple[bool, list[str]]:
    ahead = best.lead > SIGNIFICANT * best.lead_error
    spread = min(SPREAD_A_CLASS * classes, SPREAD)
    source = backbone.source
    if source is None:
        similar = not ahead
        reason = "The weights come without a classifier, so only the probes count."
    else:
        similar = source.confidence >= CONFIDENT and source.answers >= spread and not ahead
        reason = _source_sentence(source, spread)
    judged = f"Task: {'similar to' if similar else 'different from'} the pretraining task."
    reasons = [f"{judged} {reason}"]
    if ahead:
        reasons.append(
            f"After {best.name} the probe is {best.lead:.1%} (standard error {best.lead_error:.1%}) better than at the "
            "head's input: the last features are specific to the pretraining task."
        )
    return similar, reasons


def _source_sentence(source: SourcePredictions, spread: int) -> str:
    return (
        f"The pretrained classifier has a mean confidence of {source.confidence:.0%} (similar: from {CONFIDENT:.0%}) "
        f"and spreads the images over {source.answers:.1f} of its {source.classes:,} classes (similar: from {spread})."
    )


def _depth(backbone: Backbone, best: Stage) -> str:
    head = backbone.head
    if best is head:
        return f"The best probe is at the head's input: validation accuracy {head.accuracy:.1%}."
    at_head = f"against {head.accuracy:.1%} at the head's input"
    return f"The best probe is after {best.name}: validation accuracy {best.accuracy:.1%}, {at_head}."


def _later(stages: Sequence[Stage], best: Stage) -> list[Stage]:
    """The stages after the best one: at least one, at most half of all."""
    layers = [stage for stage in stages if stage.paths]
    most = max(1, int(FEW_STAGES * len(layers)))
    behind = layers[layers.index(best) + 1 :] if best in layers else []
    return behind[-most:] or layers[-1:]


def _names(stages: Sequence[Stage]) -> str:
    first, last = stages[0].name, stages[-1].name
    return first if first == last else f"{first} to {last}"


def _augment(backbone: Backbone) -> tuple[str, str]:
    cost = backbone.head.accuracy - backbone.mirrored
    if cost <= FLIP_TOLERANCE:
        return "flip", "The probe is as accurate on mirrored images: augment with flips."
    return "none", f"Mirroring costs the probe {cost:.1%} accuracy: augment without flips."


def _everything(rate: float, factor: float) -> dict[str, str | float | list[str]]:
    return {"freeze.rules": ["train *"], **_rates(rate, factor), "schedule.warmup_epochs": _WARMUP}


def _rates(rate: float, factor: float | None = None) -> dict[str, str | float | list[str]]:
    rates: dict[str, str | float | list[str]] = {"optimizer.name": "adamw", "optimizer.lr": rate}
    return rates if factor is None else {**rates, "optimizer.backbone_lr_factor": factor}
