"""Linear probes after every stage of a pretrained network, on features from one pass over the images."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from engine.config.schema import RunConfig
from engine.config.toml_io import with_settings
from engine.data.prepare import Data
from engine.errors import InputError
from engine.experiments.linear_probe.logme import Labels, SourcePredictionsAccumulator, logme
from engine.experiments.linear_probe.recommendation import recommend
from engine.experiments.linear_probe.results import HEAD_INPUT, Backbone, ImageCounts, ProbeResults, Stage
from engine.models import registry, stage_features
from engine.models.layer_tree import stages
from engine.process.dry_run import dry_run
from engine.runs.progress import Report
from engine.training.session import Session
from engine.warning_codes import Warn

MOST_TRAIN, MOST_VAL = 2000, 1000  # images that probes see; more move an accuracy by less than its own error

_LARGEST_BATCH = 64
_ITERATIONS = 200
_INVERSE_PENALTY = 0.1  # scikit-learn's C: features are many and standardised, images few

Features = npt.NDArray[np.float32]


def run_linear_probe(config: RunConfig, models: Sequence[str], report: Report, warn: Warn) -> ProbeResults:
    """Probe each network on the config's images, and recommend how to train the best one. Creates no run.

    Raises InputError for bad settings and Stopped on a signal.
    """
    names = list(dict.fromkeys(models))
    for name in names:  # fail before the first probe, which takes long
        registry.architecture(name)
    backbones: list[Backbone] = []
    images = None
    for name in names:
        # The config's freeze plan names layers of its own network; probes train no layer.
        changed = with_settings(config, {"model.name": name, "freeze.rules": [], "recipe.phases": []})
        with dry_run(changed, report, warn) as session:
            data, seed = session.data, config.train.seed
            _check_task(data)
            chosen = {
                part: choose(data.splits[part], data.labels, most, seed)
                for part, most in (("train", MOST_TRAIN), ("val", MOST_VAL))
            }
            images = _count(data, chosen)
            backbones.append(_probe(session, chosen))
    assert images
    backbones.sort(key=lambda backbone: -backbone.head.logme)
    return ProbeResults(images, backbones, recommend(backbones[0], images))


def _check_task(data: Data) -> None:
    if data.task.spec.task != "single":
        raise InputError(
            f'probes need one class per image, and data.task is "{data.task.spec.task}"; measure such a plan with '
            "`tltui sweep`"
        )


def choose(members: Sequence[int], labels: Sequence[int], most: int, seed: int) -> list[int]:
    """A stratified sample of at most ``most`` of ``members``, the same for the same seed."""
    if len(members) <= most:
        return list(members)
    random = np.random.default_rng(seed)
    place: dict[int, float] = {}
    for label in sorted({labels[i] for i in members}):
        own = random.permutation([i for i in members if labels[i] == label])
        place |= {int(i): rank / len(own) for rank, i in enumerate(own)}
    return sorted(sorted(place, key=place.__getitem__)[:most])


def _count(data: Data, chosen: Mapping[str, Sequence[int]]) -> ImageCounts:
    there = {part: len(data.splits[part]) for part in chosen}
    return ImageCounts(len(data.classes), there["train"], there["val"], len(chosen["train"]), len(chosen["val"]))


def _probe(session: Session, chosen: Mapping[str, Sequence[int]]) -> Backbone:
    labels = np.asarray(session.data.labels)
    train, val = labels[chosen["train"]], labels[chosen["val"]]
    if len(np.unique(train)) < 2:
        raise InputError("all training images are of one class; add images of another")
    images = _Pass(session, len(train) + 2 * len(val))
    train_features, val_features = images.features(chosen["train"], with_source=True), images.features(chosen["val"])
    mirrored = images.features(chosen["val"], mirror=True)[HEAD_INPUT]
    probes: dict[str, Pipeline] = {}
    logmes: dict[str, float] = {}
    for done, name in enumerate(train_features):
        session.context.report("probe", done, len(train_features), "stages")
        probes[name], logmes[name] = fit(train_features[name], train), logme(train_features[name], train)
    correct = {name: probes[name].predict(val_features[name]) == val for name in train_features}
    sizes = {name: values.shape[1] for name, values in train_features.items()}
    module = session.classifier.module
    paths = dict(stages(module, session.classifier.head))
    return Backbone(
        model=session.classifier.name,
        pretrained=session.config.model.weights != "none",
        parameters=sum(p.numel() for p in module.parameters()),
        stages=_stages(correct, float(np.mean(val == np.bincount(train).argmax())), sizes, logmes, paths),
        mirrored=float((probes[HEAD_INPUT].predict(mirrored) == val).mean()),
        source=images.source.result(),
    )


def _stages(
    correct: Mapping[str, npt.NDArray[np.bool_]],
    chance: float,
    sizes: Mapping[str, int],
    logmes: Mapping[str, float],
    paths: Mapping[str, list[str]],
) -> list[Stage]:
    """``correct``: per image, by stage. ``chance``: accuracy of the majority class."""
    found, before = [], chance
    for name, own in correct.items():
        accuracy, lead = float(own.mean()), own.astype(float) - correct[HEAD_INPUT]
        found.append(
            Stage(
                name=name,
                paths=paths.get(name, []),
                features=sizes[name],
                accuracy=accuracy,
                adds=accuracy - before,
                lead=float(lead.mean()),
                lead_error=float(lead.std() / math.sqrt(len(lead))),
                logme=logmes[name],
            )
        )
        before = accuracy
    return found


def fit(features: Features, labels: Labels) -> Pipeline:
    """A linear probe (Alain and Bengio 2016, 1610.01644): logistic regression on standardised features (N, C)."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=_INVERSE_PENALTY, max_iter=_ITERATIONS))
    with warnings.catch_warnings():  # converged digits beyond these do not matter
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(features, labels)


class _Pass:
    """One pass of images through the network that keeps the pooled output of every stage."""

    def __init__(self, session: Session, total: int) -> None:
        """``total``: images of all calls, for progress."""
        self._session = session
        self._total = total
        self._done = 0
        self.source = SourcePredictionsAccumulator()

    @torch.inference_mode()
    def features(
        self, members: Sequence[int], *, mirror: bool = False, with_source: bool = False
    ) -> dict[str, Features]:
        """Features (N, C) of the images at these positions, by stage in forward order. Raises Stopped."""
        session = self._session
        session.classifier.module.eval()
        parts: dict[str, list[Features]] = defaultdict(list)
        for images in session.loader.eval_images(members, min(session.config.train.batch_size, _LARGEST_BATCH)):
            with session.precision.autocast():
                outputs = stage_features.of_whole(session.classifier, {}, images.flip(-1) if mirror else images)
            head_input = outputs.pop(stage_features.HEAD_INPUT)
            if with_source:
                self._add_source_predictions(head_input.float())
            for name, output in [*outputs.items(), (HEAD_INPUT, head_input)]:
                parts[name].append(pooled(output).cpu().numpy())
            self._done += len(images)
            session.context.report("features", self._done, self._total, "images")
        found = {name: np.concatenate(some) for name, some in parts.items()}
        for name, values in found.items():
            if not np.isfinite(values).all():
                raise InputError(f"{session.classifier.name}: {name} returns NaN or infinity; load other weights")
        return found

    def _add_source_predictions(self, head_input: torch.Tensor) -> None:
        head = {name: t.to(head_input.device).float() for name, t in self._session.classifier.original_head.items()}
        if not head:
            return
        if head["weight"].ndim == 2:
            logits = functional.linear(head_input, head["weight"], head.get("bias"))
        else:
            logits = functional.conv2d(head_input, head["weight"], head.get("bias")).mean((2, 3))
        self.source.add(logits.softmax(-1).cpu().numpy())


def pooled(output: torch.Tensor) -> torch.Tensor:
    """Average a stage's output over space or tokens → float32 (N, C)."""
    if output.ndim == 4:
        return output.float().mean((1, 2) if stage_features.is_channels_last(output) else (2, 3))
    return output.float().mean(1) if output.ndim == 3 else output.float().flatten(1)
