"""Batches of features for the trainable suffix: the frozen prefix computes each image's features once."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from engine.cache.folder import cache_root, limit
from engine.cache.space import CacheSpace
from engine.compute.batch_fit import Fits
from engine.compute.precision import Precision
from engine.config.schema import RunConfig
from engine.data.augmented_views import CENTRE, View, Views
from engine.data.image_cache import memory_budget
from engine.data.loaders import ImageDataset, Normalize, choose_workers, image_loader, micro_batches, rank_share
from engine.data.prepare import Data
from engine.models.frozen_prefix import Features, Prefix, identity
from engine.models.registry import Classifier
from engine.models.split import NetworkSplit, bridge
from engine.runs.folder import data_label
from engine.training.distributed import SINGLE_PROCESS, Ranks
from engine.training.feature_store import FeatureStore, feature_bytes, on_device
from engine.training.mixing import Mixing
from engine.warning_codes import Warn

ALL = slice(None)
_MARGIN = 1.25  # memory of a process relative to its share of the features, because local batches are of equal size


@dataclass(frozen=True)
class GlobalBatch:
    """The batch of all processes: its encoded ``labels`` (M,) or (M, K), and the ``positions`` int64 (N,) of the local
    images.

    ``micro_batches``: those of the local images, each with that of all processes which it belongs to.
    """

    labels: torch.Tensor
    positions: torch.Tensor
    micro_batches: Sequence[tuple[slice, slice]]


@dataclass(frozen=True)
class Batch:
    """``inputs`` of the suffix and ``labels``, both on the device. ``global_batch``: with several processes.

    ``labels``: the targets as the task encodes them, int64 (N,) or float32 (N, K).
    """

    inputs: Features
    labels: torch.Tensor
    global_batch: GlobalBatch | None = None

    @property
    def global_labels(self) -> torch.Tensor:
        """The labels of the global batch."""
        return self.global_batch.labels if self.global_batch else self.labels


@dataclass(frozen=True)
class _Source:
    """Where features come from: a split, its prefix, and the store; without a store they are computed each time."""

    split: NetworkSplit
    prefix: Prefix
    store: FeatureStore | None


@dataclass(frozen=True)
class _Bridge:
    """Features of an earlier boundary, and the layers that compute the current ones from them."""

    store: FeatureStore
    prefix: Prefix


class FeatureLoader:
    """Yields batches of features at the boundary of the current split.

    Features are computed when a batch first needs them, then cached. So the first epoch costs the whole network, and
    later epochs cost only the trainable layers.
    """

    def __init__(
        self,
        data: Data,
        classifier: Classifier,
        config: RunConfig,
        precision: Precision,
        frozen_precision: Precision,
        warn: Warn,
        check: Callable[[], None],
        fits: Fits,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        """``precision``: of the suffix and its inputs. ``frozen_precision``: of the prefix and the cached features.

        ``check`` is called during long computations and raises Stopped if a stop is requested.
        """
        self._check = check
        self._data = data
        self._keys: list[bytes] = data.keys.tolist()
        self._preprocessing = classifier.preprocessing
        self._config = config
        self._precision = precision
        self._frozen_precision = frozen_precision
        self._warn = warn
        self._fits = fits
        self._ranks = ranks
        self._views = Views.of(config.data.augment, config.data.views, config.train.seed)
        self._dataset = ImageDataset(data.image_cache, self._keys, self._preprocessing.image_size, self._views)
        self._normalize = Normalize(self._preprocessing, precision.device)
        self._labels = data.targets.to(precision.device)
        self._mixing = Mixing(config.train, len(data.task.outputs)) if config.train.mixes else None
        self._workers = choose_workers(config.data.workers, config.data.augment)
        self._source: _Source | None = None
        self._bridge: _Bridge | None = None

    def set_split(self, split: NetworkSplit, digests: Mapping[str, str]) -> None:
        """Yield batches at the boundary of ``split`` from now on. ``digests``: of all frozen tensors, by name.

        Features of the previous boundary stay in the cache, and those of a deeper one are computed from them.
        """
        previous = self._source
        if self._bridge:
            self._bridge.store.close()
        self._source, self._bridge = None, None
        if split.kind != "none":
            prefix = Prefix(split.prefix, self._frozen_precision, self._fits)
            key = identity(split, digests, self._preprocessing, self._frozen_precision)
            self._source = _Source(split, prefix, self._open_store(split, prefix, key))
        if previous and previous.store:
            self._bridge = self._bridge_from(previous.split, previous.store)

    def _bridge_from(self, split: NetworkSplit, store: FeatureStore) -> _Bridge | None:
        """A bridge from the features of the previous boundary; None, and the store closed, if they are of no use."""
        layers = None
        if self._source and self._source.store and store.stored_bytes:
            layers = bridge(split, self._source.split)
        if layers is None:
            store.close()
            return None
        store.free_memory()
        return _Bridge(store, Prefix(layers, self._frozen_precision, self._fits))

    def close(self) -> None:
        """Publish the computed features for other runs, and close the stores."""
        for store in (self._source and self._source.store, self._bridge and self._bridge.store):
            if store:
                store.close()

    @property
    def prefix(self) -> Prefix | None:
        """The frozen layers below the boundary; None where no layer is frozen at the input."""
        return self._source.prefix if self._source else None

    @property
    def cached_bytes(self) -> int:
        """The size of the cached features at the boundary."""
        return self._source.store.stored_bytes if self._source and self._source.store else 0

    def training_batches(self, batches: Sequence[Sequence[int]], epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches of training images, given as image indices, in their augmented views of ``epoch`` (from 1).

        ``batches`` are those of the whole epoch, and the first ``start`` are left out. Each of several processes
        receives its share of every micro-batch.
        """
        views, batches = self._augmented(batches, epoch)[start:], batches[start:]
        if self._ranks.world_size == 1 and not self._mixing:
            yield from self._batches(views)
            return
        shares = [self._share(batch) for batch in batches]
        local = [[batch[at] for at in own] for batch, (own, _) in zip(views, shares, strict=True)]
        if self._mixing:
            parts = [[of_own for of_own, _ in micro] for _, micro in shares]
            loaded = self._mixed_batches(self._mixing, local, parts, epoch, start)
        else:
            loaded = self._batches(local)
        if self._ranks.world_size == 1:
            yield from loaded
            return
        device = self._labels.device
        for batch, (own, micro), part in zip(batches, shares, loaded, strict=True):
            labels = self._labels[on_device(list(batch), device)]
            yield replace(part, global_batch=GlobalBatch(labels, on_device(own, device), micro))

    def _share(self, batch: Sequence[int]) -> tuple[list[int], list[tuple[slice, slice]]]:
        """The positions of this process's images in a global batch, and its micro-batches: local and global ones."""
        positions: list[int] = []
        parts = []
        for whole in micro_batches(len(batch), self._config.train.batch_size):
            own = rank_share(batch[whole], self._ranks.rank, self._ranks.world_size)
            parts.append((slice(len(positions), len(positions) + len(own)), whole))
            positions += [whole.start + at for at in own]
        return positions, parts

    def _augmented(self, batches: Sequence[Sequence[int]], epoch: int) -> list[list[View]]:
        """The view of each image; an image that an epoch repeats comes in other views."""
        cached = self._source is not None and self._source.store is not None and self._mixing is None
        seen: Counter[int] = Counter()

        def view(image: int) -> View:
            seen[image] += 1
            return self._views.in_epoch(epoch, image, self._keys[image], cached=cached, repeat=seen[image] - 1)

        return [[view(image) for image in batch] for batch in batches]

    def eval_batches(self, members: Sequence[int], batch_size: int, part: slice = ALL) -> Iterator[Batch]:
        """Images by index, in order, without augmentation; only the batches in ``part``."""
        return self._batches(_centre_views(members, batch_size)[part])

    def eval_images(self, members: Sequence[int], batch_size: int) -> Iterator[torch.Tensor]:
        """Normalized images (N, 3, S, S) by index, in order, without augmentation. The feature cache is not used."""
        for images in self._images(_centre_views(members, batch_size)):
            yield self._normalize(images)

    def _batches(self, batches: list[list[View]]) -> Iterator[Batch]:
        source = self._source
        if source is None or source.store is None:
            for batch, images in zip(batches, self._images(batches), strict=True):
                yield self._batch(self._compute(source, images), self._labels_of(batch))
            return
        store = source.store
        store.refresh()
        windows = list(self._windows(batches, store, source.prefix.chunk))
        images = iter(self._images([missing for _, missing in windows if missing]))
        for window, missing in windows:
            if missing:
                store.put(self._names(missing), self._compute(source, next(images)))
            for batch in window:
                yield self._batch(self._load(source, store, batch), self._labels_of(batch))
        store.publish()

    def _mixed_batches(
        self,
        mixing: Mixing,
        batches: list[list[View]],
        parts: list[list[slice]],
        epoch: int,
        start: int,
    ) -> Iterator[Batch]:
        """Batches whose images are mixed within each of their micro-batches, ``parts``. No features are cached.

        Of several processes each mixes its own images; the sum of a batch's targets stays that of the global batch.
        """
        loaded = zip(batches, parts, self._images(batches), strict=True)
        for step, (batch, micro, images) in enumerate(loaded, start):
            normalized, labels = self._normalize(images), self._labels_of(batch)
            mixed = [mixing(normalized[own], labels[own], (epoch, step, at)) for at, own in enumerate(micro)]
            inputs, targets = (torch.cat(tensors) for tensors in zip(*mixed, strict=True))
            features = self._source.prefix.resized(len(inputs))(inputs) if self._source else (inputs,)
            yield self._batch(features, targets)

    def _windows(
        self, batches: list[list[View]], store: FeatureStore, chunk: int
    ) -> Iterator[tuple[list[list[View]], list[View]]]:
        """Groups of batches, each with the views whose features the prefix has yet to compute.

        Groups are large enough for the prefix to compute full chunks.
        """
        window: list[list[View]] = []
        missing: dict[View, None] = {}
        for batch in batches:
            window.append(batch)
            missing |= dict.fromkeys(self._uncached(batch, store))
            if len(missing) >= chunk and (len(missing) % chunk == 0 or len(missing) >= 4 * chunk):
                yield window, list(missing)
                window, missing = [], {}
        if window:
            yield window, list(missing)

    def _uncached(self, batch: list[View], store: FeatureStore) -> list[View]:
        """The views whose features are cached neither at the boundary nor at the bridge's."""
        absent = [batch[at] for at in store.missing(self._names(batch))]
        if absent and self._bridge:
            absent = [absent[at] for at in self._bridge.store.missing(self._names(absent))]
        return absent

    def _load(self, source: _Source, store: FeatureStore, batch: list[View]) -> Features:
        """Cached features of a batch, computed over the bridge where the cache has only the earlier boundary's."""
        names = self._names(batch)
        try:
            bridged = list(dict.fromkeys(names[at] for at in store.missing(names)))
            if bridged:
                assert self._bridge
                store.put(bridged, self._bridge.prefix(*self._bridge.store.get(bridged)))
            return store.get(names)
        except KeyError:  # the cache's files were damaged while in use
            return self._compute(source, next(iter(self._images([batch]))))

    def _compute(self, source: _Source | None, images: torch.Tensor) -> Features:
        if source is None:
            return (self._normalize(images),)
        parts = []
        for some in images.split(source.prefix.chunk):
            self._check()
            parts.append(source.prefix(self._normalize(some)))
        return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))

    def _images(self, batches: list[list[View]]) -> Iterator[torch.Tensor]:
        return iter(image_loader(self._dataset, batches, self._workers)) if batches else iter(())

    def _names(self, views: Sequence[View]) -> list[bytes]:
        return [self._views.cache_key(self._keys[image], number) for image, number in views]

    def _labels_of(self, views: list[View]) -> torch.Tensor:
        return self._labels[on_device([view.image for view in views], self._labels.device)]

    def _batch(self, features: Features, labels: torch.Tensor) -> Batch:
        if self._precision.name == "fp32":  # in other precisions autocast converts the inputs
            features = tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in features)
        return Batch(features, labels)

    def _open_store(self, split: NetworkSplit, prefix: Prefix, key: str) -> FeatureStore | None:
        """The store of the features at a boundary; None, with a warning, if they fit neither memory nor disk."""
        trained = len(self._data.splits.get("train", []))
        expected = len(self._data.samples) - trained + (0 if self._mixing else trained * self._views.count)
        device = self._precision.device
        if device.type == "cuda":
            budget = torch.cuda.mem_get_info(device)[0] // 4
        else:
            budget = memory_budget(self._config.data.cache_gb)
        example = prefix.example_features(self._normalize(self._dataset.__getitems__([View(0, CENTRE)])))
        needed = expected * feature_bytes(example)
        if needed > max(budget, _disk_limit()):
            self._warn(
                "cache_too_small",
                f"the features of {split.label} need {needed / 2**30:.1f} GiB, more than memory or the cache's disk "
                "has room for; they are computed again in each epoch",
            )
            return None
        about = {
            "data": data_label(self._config),
            "model": self._config.model.name,
            "boundary": split.label,
            "precision": self._frozen_precision.name,
        }
        space = CacheSpace(cache_root(), "features", key, about, self._warn, memory_budget(self._config.data.cache_gb))
        part = expected if self._ranks.world_size == 1 else math.ceil(_MARGIN * expected / self._ranks.world_size)
        store = FeatureStore(example, space, budget, min(part, expected))
        store.missing(self._keys)  # finds what is cached already, so that its size is known from the start
        return store


def _centre_views(members: Sequence[int], batch_size: int) -> list[list[View]]:
    return [[View(i, CENTRE) for i in members[at : at + batch_size]] for at in range(0, len(members), batch_size)]


def _disk_limit() -> int:
    root = cache_root()
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        return limit(root)
    except OSError:
        return 0
