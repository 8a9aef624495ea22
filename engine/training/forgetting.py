"""Forgetting: how much of the pretrained network is left in the one that trains, measured on validation images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.nn import functional

from engine.models.split import Split
from engine.models.stage_features import HEAD_INPUT, Outputs, Suffix, features, of_whole
from engine.rng import same_randomness
from engine.runs import events
from engine.training.cka import gram, linear_cka
from engine.training.session import Session

_IMAGES = 128  # enough for two digits of CKA, and a small part of an epoch
_FEWEST = 8
_FAST = 0.5  # what CKA may fall by within one epoch without a warning


@dataclass(frozen=True)
class _Seen:
    """What a network makes of the images: Gram matrices (N, N) by stage, answers int64 (N,) of the original head."""

    grams: dict[str, torch.Tensor]
    answers: torch.Tensor | None


class Forgetting:
    """Compares the network that trains with the one that the run began with."""

    def __init__(self, session: Session) -> None:
        self._session = session
        members = session.data.splits["val"]
        count = min(_IMAGES, len(members))
        self._members = [members[at * len(members) // count] for at in range(count)]
        self._first: _Seen | None = None
        self._suffix: tuple[Split, Suffix] | None = None
        self._before = session.past.forgetting.get(session.epoch)

    @torch.no_grad()
    def tell(self) -> None:
        """Tell of it at the end of an epoch, with a warning where much went at once; of nothing where no backbone has
        trained. Raises Stopped."""
        session, start = self._session, self._session.start
        moved = any(session.depths[name].distance for name in start.weights)
        pretrained = session.config.model.weights != "none"
        if not (moved and pretrained and session.split.kind != "head" and len(self._members) >= _FEWEST):
            return
        session.classifier.module.eval()
        with same_randomness(session.device):
            self._first = self._first or self._see(self._as_it_was())
            now = self._see(self._as_it_is())
        event = _compared(session, self._first, now, len(self._members))
        session.log.write(event)
        self._warn(event)
        self._before = event

    def _as_it_was(self) -> Iterable[Outputs]:
        session = self._session
        state = session.start.weights | session.start.statistics
        for images in session.feed.images(self._members, session.config.train.batch_size):
            session.control.check()
            with session.precision.autocast():
                outputs = of_whole(session.classifier, state, images)
            yield outputs

    def _as_it_is(self) -> Iterable[Outputs]:
        session = self._session
        if self._suffix is None or self._suffix[0] is not session.split:
            self._suffix = session.split, Suffix(session.split, session.classifier)
        _, suffix = self._suffix
        for batch in session.feed.centres(self._members, session.config.train.batch_size):
            with session.precision.autocast():
                outputs = suffix(batch.inputs)
            yield outputs

    def _see(self, batches: Iterable[Outputs]) -> _Seen:
        parts: dict[str, list[torch.Tensor]] = defaultdict(list)
        answers = []
        head = {
            name: tensor.to(self._session.device) for name, tensor in self._session.classifier.original_head.items()
        }
        for outputs in batches:
            given = outputs.pop(HEAD_INPUT, None)
            if head and given is not None:
                answers.append(_answers(head, given.float()))
            for name, output in outputs.items():
                parts[name].append(features(output))
        grams = {name: gram(torch.cat(found)) for name, found in parts.items()}
        return _Seen(grams, torch.cat(answers) if answers else None)

    def _warn(self, event: events.Forgetting) -> None:
        before = self._before.cka if self._before else {}
        falls = {stage: before.get(stage, 1.0) - cka for stage, cka in event.cka.items()}
        stage = max(falls, key=lambda name: falls[name], default="")
        if stage and falls[stage] > _FAST:
            self._session.warn("forgetting", _advice(self._session, event, stage, before.get(stage, 1.0)))


def _answers(head: dict[str, torch.Tensor], given: torch.Tensor) -> torch.Tensor:
    """What a linear or a 1×1 convolutional classifier says of its inputs (N, …): the likeliest class, int64 (N,)."""
    weight, bias = head["weight"].float(), head.get("bias")
    if weight.ndim == 2:
        return functional.linear(given, weight, bias).argmax(-1)
    return functional.conv2d(given, weight, bias).mean((2, 3)).argmax(1)


def _compared(session: Session, first: _Seen, now: _Seen, images: int) -> events.Forgetting:
    similarities = {
        stage: linear_cka(first.grams[stage], own) for stage, own in now.grams.items() if stage in first.grams
    }
    agreement = None
    if first.answers is not None and now.answers is not None:
        agreement = float((first.answers == now.answers).double().mean())
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
