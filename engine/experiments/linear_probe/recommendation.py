"""How deep to train: feature extraction or fine-tuning, which stages, at which rates. Imports no torch; pure.

The four cases are those of Stanford's CS231n notes on transfer learning (cs231n.github.io/transfer-learning): few or
many images × a task like the source's or another. That features stop fitting from some depth on, and how far
down they still do, is what Yosinski et al. 2014 (1411.1792) measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.experiments.linear_probe.results import Backbone, ImageCounts, Recommendation, SourceAnswers, Stage

MANY_IMAGES = 500  # for training; with fewer than these, or than so many a class, a whole network overfits
MANY_A_CLASS = 50
CONFIDENT = 0.5  # mean highest probability of the pretrained classifier; on its own task it is 0.6 to 0.8
# Images like the source's fall into at least twice as many of its classes as they have of their own, or into 8.
SPREAD_A_CLASS, SPREAD = 2, 8
SURE = 2.0  # standard errors by which an earlier stage is ahead before that counts as no chance
FEW_STAGES = 0.5  # of the stages: the most that train on few images
STILL_THE_SAME = 0.03  # what mirrored images may cost the probe's accuracy before they count as other images

# With AdamW. A new head alone takes a large rate; what is pretrained takes a tenth of a lower one where its features
# are to stay, and a third where they have to become others: at a tenth ten epochs of few images hardly change them.
HEAD_RATE, RATE = 3e-3, 1e-3
KEEPING_FACTOR, CHANGING_FACTOR = 0.1, 0.3
_WARMUP = 1.0  # epochs in which a new head's first gradients do not reach the backbone at full rate


def advise(backbone: Backbone, images: ImageCounts) -> Recommendation:
    """What to train, and why."""
    large, size = _size(images)
    if not backbone.pretrained:
        reasons = ["The network has no pretrained weights: nothing can be carried over, so all of it trains.", size]
        reasons.append("Whether the task is like the source's can't be judged without weights.")
        return Recommendation(backbone.model, "everything", large, None, _everything(HEAD_RATE, 1.0), reasons)
    best = best_stage(backbone.stages)
    similar, likeness = _similar(backbone, best, images.classes)
    reasons = [size, *likeness, _depth(backbone, best)]
    if large:
        if similar:
            settings = _everything(RATE, KEEPING_FACTOR)
            reasons.append("Enough images to fine-tune everything; low rates keep features that fit.")
        else:
            settings = _everything(HEAD_RATE, CHANGING_FACTOR)
            reasons.append("Enough images to fine-tune everything, and features have to change: higher rates.")
        return Recommendation(backbone.model, "everything", large, similar, settings, reasons)
    if similar:
        reasons.append("Few images and features that fit: only the new head trains, so that nothing is overfitted.")
        settings = {"freeze.rules": ["freeze *", "train head"], **_rates(HEAD_RATE)}
        return Recommendation(backbone.model, "head", large, similar, settings, reasons)
    later = _later(backbone.stages, best)
    reasons.append(
        f"Few images, and the last features do not fit: earlier ones stay as they are, {_names(later)} and the head "
        "train, carefully."
    )
    augment, why = _augment(backbone)
    rules = ["freeze *", *(f"train {path}" for stage in later for path in stage.paths), "train head"]
    settings = {"freeze.rules": rules, **_rates(HEAD_RATE, CHANGING_FACTOR), "data.augment": augment}
    return Recommendation(backbone.model, "stages", large, similar, settings, [*reasons, why])


def best_stage(stages: Sequence[Stage]) -> Stage:
    """The earliest that is not clearly behind the best one (the one-standard-error rule of Breiman et al. 1984)."""
    best = max(stages, key=lambda stage: stage.accuracy)
    return next(stage for stage in stages if stage.accuracy >= best.accuracy - best.lead_error)


def _size(images: ImageCounts) -> tuple[bool, str]:
    a_class = images.train / images.classes
    large = images.train >= MANY_IMAGES and a_class >= MANY_A_CLASS
    there = f"{images.train:,} training images, {a_class:,.0f} a class"
    wanted = f"{MANY_IMAGES:,} and {MANY_A_CLASS} a class"
    return large, f"Data: {'large' if large else 'small'}: {there} (large: from {wanted})."


def _similar(backbone: Backbone, best: Stage, classes: int) -> tuple[bool, list[str]]:
    ahead = best.lead > SURE * best.lead_error
    spread = min(SPREAD_A_CLASS * classes, SPREAD)
    source = backbone.source
    if source is None:
        similar = not ahead
        said = "The weights have no classifier of their own that could be asked; the probes alone tell."
    else:
        similar = source.confidence >= CONFIDENT and source.answers >= spread and not ahead
        said = _told(source, spread)
    judged = f"Task: {'similar to' if similar else 'different from'} what the network was pretrained on."
    reasons = [f"{judged} {said}"]
    if ahead:
        reasons.append(
            f"After {best.name} the probe is {best.lead:.1%} (standard error {best.lead_error:.1%}) better than at the "
            "head's input: the last features belong to the source's task."
        )
    return similar, reasons


def _told(source: SourceAnswers, spread: int) -> str:
    return (
        f"Its own classifier is {source.confidence:.0%} sure of its answers (similar: from {CONFIDENT:.0%}) and "
        f"spreads them over {source.answers:.1f} of its {source.classes:,} classes (similar: from {spread})."
    )


def _depth(backbone: Backbone, best: Stage) -> str:
    head = backbone.head
    if best is head:
        return f"The task separates best at the head's input: {head.accuracy:.1%} of validation images."
    at_head = f"against {head.accuracy:.1%} at the head's input"
    return f"The task separates after {best.name} already: {best.accuracy:.1%} of validation images, {at_head}."


def _later(stages: Sequence[Stage], best: Stage) -> list[Stage]:
    """The stages behind the best one, at least one and at most a share of all."""
    layers = [stage for stage in stages if stage.paths]
    most = max(1, int(FEW_STAGES * len(layers)))
    behind = layers[layers.index(best) + 1 :] if best in layers else []
    return behind[-most:] or layers[-1:]


def _names(stages: Sequence[Stage]) -> str:
    first, last = stages[0].name, stages[-1].name
    return first if first == last else f"{first} to {last}"


def _augment(backbone: Backbone) -> tuple[str, str]:
    cost = backbone.head.accuracy - backbone.mirrored
    if cost <= STILL_THE_SAME:
        return "flip", "Mirrored images are told apart as well as others: flipping makes more of few images."
    return "none", f"Mirrored, {cost:.1%} fewer images come out right, so none are flipped."


def _everything(rate: float, factor: float) -> dict[str, str | float | list[str]]:
    return {"freeze.rules": ["train *"], **_rates(rate, factor), "schedule.warmup_epochs": _WARMUP}


def _rates(rate: float, factor: float | None = None) -> dict[str, str | float | list[str]]:
    rates: dict[str, str | float | list[str]] = {"optimizer.name": "adamw", "optimizer.lr": rate}
    return rates if factor is None else {**rates, "optimizer.backbone_lr_factor": factor}
