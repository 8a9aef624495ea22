"""Forgetting: compares the network in training with its initial weights, on validation images after each epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.nn import functional

from engine.models.split import NetworkSplit
from engine.models.stage_features import HEAD_INPUT, Outputs, Suffix, features, of_whole
from engine.rng import same_randomness
from engine.runs import events
from engine.training.cka import gram, linear_cka
from engine.training.session import Session

_MAX_IMAGES = 128  # enough for two digits of CKA, and a small part of an epoch
_MIN_IMAGES = 8
_MAX_FALL = 0.5  # of CKA within one epoch, without a warning


@dataclass(frozen=True)
class _Representations:
    """Gram matrices (N, N) by stage, and predictions int64 (N,) of the original head, if there is one."""

    grams: dict[str, torch.Tensor]
    predictions: torch.Tensor | None


class Forgetting:
    """Measures CKA by stage, and how many predictions of the original head stay the same."""

    def __init__(self, session: Session) -> None:
        self._session = session
        members = session.data.splits["val"]
        count = min(_MAX_IMAGES, len(members))
        self._members = [members[at * len(members) // count] for at in range(count)]
        self._initial: _Representations | None = None
        self._suffix: tuple[NetworkSplit, Suffix] | None = None
        self._previous = session.context.replayed.forgetting.get(session.epoch)

    @torch.no_grad()
    def emit(self) -> None:
        """Emit forgetting at the end of an epoch, if a pretrained backbone has trained. Raises Stopped.

        Warns if CKA falls fast.
        """
        session, initial = self._session, self._session.initial_weights
        has_trained = any(session.depths[name].distance for name in initial.weights)
        pretrained = session.config.model.weights != "none"
        if not (has_trained and pretrained and session.split.kind != "head" and len(self._members) >= _MIN_IMAGES):
            return
        session.classifier.module.eval()
        with same_randomness(session.device):
            self._initial = self._initial or self._represent(self._initial_outputs())
            current = self._represent(self._current_outputs())
        event = _compare(session, self._initial, current, len(self._members))
        session.context.log.write(event)
        self._warn(event)
        self._previous = event

    def _initial_outputs(self) -> Iterable[Outputs]:
        session = self._session
        state = session.initial_weights.weights | session.initial_weights.statistics
        for images in session.loader.eval_images(self._members, session.config.train.batch_size):
            session.context.control.check()
            with session.precision.autocast():
                outputs = of_whole(session.classifier, state, images)
            yield outputs

    def _current_outputs(self) -> Iterable[Outputs]:
        session = self._session
        if self._suffix is None or self._suffix[0] is not session.split:
            self._suffix = session.split, Suffix(session.split, session.classifier)
        _, suffix = self._suffix
        for batch in session.loader.eval_batches(self._members, session.config.train.batch_size):
            with session.precision.autocast():
                outputs = suffix(batch.inputs)
            yield outputs

    def _represent(self, batches: Iterable[Outputs]) -> _Representations:
        by_stage: dict[str, list[torch.Tensor]] = defaultdict(list)
        predictions = []
        device = self._session.device
        head = {name: tensor.to(device) for name, tensor in self._session.classifier.original_head.items()}
        for outputs in batches:
            head_inputs = outputs.pop(HEAD_INPUT, None)
            if head and head_inputs is not None:
                predictions.append(_predict(head, head_inputs.float()))
            for name, output in outputs.items():
                by_stage[name].append(features(output))
        grams = {name: gram(torch.cat(parts)) for name, parts in by_stage.items()}
        return _Representations(grams, torch.cat(predictions) if predictions else None)

    def _warn(self, event: events.Forgetting) -> None:
        previous = self._previous.cka if self._previous else {}
        falls = {stage: previous.get(stage, 1.0) - cka for stage, cka in event.cka.items()}
        stage = max(falls, key=lambda name: falls[name], default="")
        if stage and falls[stage] > _MAX_FALL:
            self._session.context.warn("forgetting", _advice(self._session, event, stage, previous.get(stage, 1.0)))


def _predict(head: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """The most confident class, int64 (N,), of a linear or 1×1 convolutional head for its inputs (N, …)."""
    weight, bias = head["weight"].float(), head.get("bias")
    if weight.ndim == 2:
        return functional.linear(inputs, weight, bias).argmax(-1)
    return functional.conv2d(inputs, weight, bias).mean((2, 3)).argmax(1)


def _compare(session: Session, initial: _Representations, current: _Representations, images: int) -> events.Forgetting:
    similarities = {
        stage: linear_cka(initial.grams[stage], own) for stage, own in current.grams.items() if stage in initial.grams
    }
    agreement = None
    if initial.predictions is not None and current.predictions is not None:
        agreement = float((initial.predictions == current.predictions).double().mean())
    return events.Forgetting(
        epoch=session.epoch + 1,
        step=session.step,
        images=images,
        cka={stage: round(value, 6) for stage, value in similarities.items() if value is not None},
        agreement=agreement,
    )


def _advice(session: Session, event: events.Forgetting, stage: str, before: float) -> str:
    factor, cka = session.config.optimizer.backbone_lr_factor, event.cka[stage]
    return (
        f"epoch {event.epoch} took {stage} far from its pretrained features (CKA {before:.2f} → {cka:.2f}); "
        f"lower optimizer.backbone_lr_factor (it is {factor:g}), freeze up to {stage} or train the head alone at first"
    )
