"""Batches for the part of the network that trains: what the frozen part makes of the images, computed once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from engine.cache.eviction import cache_root, limit
from engine.cache.space import Space
from engine.compute.batch_fit import Fits
from engine.compute.precision import Precision
from engine.config.schema import RunConfig
from engine.data.augmented_views import CENTRE, View, Views
from engine.data.image_cache import memory_budget
from engine.data.loaders import ImageDataset, Normalize, choose_workers, image_loader, rank_share
from engine.data.prepare import Data
from engine.models.frozen_prefix import Prefix, Rows, identity
from engine.models.registry import Classifier
from engine.models.split import Split, bridge
from engine.runs.folder import data_label
from engine.training.distributed import ALONE, Ranks
from engine.training.feature_store import RowStore, on_device, row_bytes
from engine.warning_codes import Warn

ALL = slice(None)
_MORE = 1.25  # times its part of the rows that a process has room for, since parts of batches are made equal


@dataclass(frozen=True)
class Whole:
    """A batch of which this process has a part: its ``labels`` int64 (M,), and which ``rows`` int64 (N,) are here."""

    labels: torch.Tensor
    rows: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """``inputs``: what the suffix takes; ``labels``: int64 (N,). All on the device. ``whole``: where several processes
    train."""

    inputs: Rows
    labels: torch.Tensor
    whole: Whole | None = None

    @property
    def all_labels(self) -> torch.Tensor:
        """Those of the batch in all processes."""
        return self.whole.labels if self.whole else self.labels


@dataclass(frozen=True)
class _Source:
    """Where rows come from: a boundary, what computes it, and what is kept of it (None: computed for each batch)."""

    split: Split
    prefix: Prefix
    rows: RowStore | None


@dataclass(frozen=True)
class _Bridge:
    """Rows of an earlier boundary, and what computes the rows of the present one from them."""

    rows: RowStore
    prefix: Prefix


class Feed:
    """Gives batches at the boundary of the split in force.

    Rows that nobody has computed yet are computed when a batch needs them, and kept; so the first epoch takes as long
    as the frozen layers take, and those that follow only as long as the layers that train.
    """

    def __init__(
        self,
        data: Data,
        classifier: Classifier,
        config: RunConfig,
        precision: Precision,
        frozen_precision: Precision,
        tell: Warn,
        check: Callable[[], None],
        fits: Fits,
        ranks: Ranks = ALONE,
    ) -> None:
        """``precision``: of what trains, and so of the inputs; ``frozen_precision``: of prefixes, and so of rows.

        ``check`` raises Stopped where someone wants that; it is called while much is computed.
        """
        self._check = check
        self._data = data
        self._keys: list[bytes] = data.keys.tolist()
        self._preprocessing = classifier.preprocessing
        self._config = config
        self._precision = precision
        self._frozen_precision = frozen_precision
        self._tell = tell
        self._fits = fits
        self._ranks = ranks
        self._views = Views.of(config.data.augment, config.data.views, config.train.seed)
        self._dataset = ImageDataset(data.image_cache, self._keys, self._preprocessing.image_size, self._views)
        self._normalize = Normalize(self._preprocessing, precision.device)
        self._labels = torch.tensor(data.labels, device=precision.device)
        self._workers = choose_workers(config.data.workers, config.data.augment)
        self._source: _Source | None = None
        self._bridge: _Bridge | None = None

    def use(self, split: Split, digests: Mapping[str, str]) -> None:
        """Give batches at another boundary from now on; ``digests``: of all frozen tensors, by name.

        What was computed for the boundary before stays in the cache, and is what deeper ones are computed from.
        """
        before = self._source
        if self._bridge:
            self._bridge.rows.close()
        self._source, self._bridge = None, None
        if split.kind != "none":
            prefix = Prefix(split.prefix, self._frozen_precision, self._fits)
            rows = self._open_rows(split, prefix, identity(split, digests, self._preprocessing, self._frozen_precision))
            self._source = _Source(split, prefix, rows)
        if before and before.rows:
            self._bridge = self._bridge_from(before.split, before.rows)

    def _bridge_from(self, split: Split, rows: RowStore) -> _Bridge | None:
        """What goes on from the rows of the boundary before; where nothing does, they are let go."""
        between = None
        if self._source and self._source.rows and rows.bytes:
            between = bridge(split, self._source.split)
        if between is None:
            rows.close()
            return None
        rows.leave_memory()
        return _Bridge(rows, Prefix(between, self._frozen_precision, self._fits))

    def close(self) -> None:
        """Let other runs have all that was computed."""
        for rows in (self._source and self._source.rows, self._bridge and self._bridge.rows):
            if rows:
                rows.close()

    @property
    def cached(self) -> int:
        """Bytes that are kept of what frozen layers gave."""
        return self._source.rows.bytes if self._source and self._source.rows else 0

    def training(self, batches: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        """Training images by their positions, batch by batch, in the views that ``epoch`` (from 1) shows.

        Of several processes each is given its part of each batch.
        """
        if self._ranks.count == 1:
            yield from self._batches(self._shown(batches, epoch))
            return
        rows = [rank_share(batch, self._ranks.rank, self._ranks.count) for batch in batches]
        parts = [[batch[at] for at in own] for batch, own in zip(batches, rows, strict=True)]
        device = self._labels.device
        for batch, own, part in zip(batches, rows, self._batches(self._shown(parts, epoch)), strict=True):
            labels = self._labels[on_device(list(batch), device)]
            yield replace(part, whole=Whole(labels, on_device(own, device)))

    def _shown(self, batches: Sequence[Sequence[int]], epoch: int) -> list[list[View]]:
        kept = self._source is not None and self._source.rows is not None
        return [[self._views.in_epoch(epoch, i, self._keys[i], cached=kept) for i in batch] for batch in batches]

    def centres(self, members: Sequence[int], batch_size: int, part: slice = ALL) -> Iterator[Batch]:
        """Images by their positions, in order, without augmentation; of the batches those in ``part``."""
        return self._batches(_centres(members, batch_size)[part])

    def images(self, members: Sequence[int], batch_size: int) -> Iterator[torch.Tensor]:
        """Normalized images (N, 3, S, S) by their positions, in order, whatever is kept of them."""
        for images in self._images(_centres(members, batch_size)):
            yield self._normalize(images)

    def _batches(self, batches: list[list[View]]) -> Iterator[Batch]:
        source = self._source
        if source is None or source.rows is None:
            for batch, images in zip(batches, self._images(batches), strict=True):
                yield self._batch(self._computed(source, images), batch)
            return
        source.rows.refresh()
        windows = list(self._windows(batches, source.rows, source.prefix.chunk))
        supply = iter(self._images([missing for _, missing in windows if missing]))
        for window, missing in windows:
            if missing:
                source.rows.put(self._names(missing), self._computed(source, next(supply)))
            for batch in window:
                yield self._batch(self._kept(source, source.rows, batch), batch)
        source.rows.publish()

    def _windows(
        self, batches: list[list[View]], rows: RowStore, chunk: int
    ) -> Iterator[tuple[list[list[View]], list[View]]]:
        """Batches to be made ready together, with the views that have yet to be computed from images for them.

        So many together that the prefix computes whole chunks.
        """
        window: list[list[View]] = []
        missing: dict[View, None] = {}
        for batch in batches:
            window.append(batch)
            missing |= dict.fromkeys(self._to_compute(batch, rows))
            if len(missing) >= chunk and (len(missing) % chunk == 0 or len(missing) >= 4 * chunk):
                yield window, list(missing)
                window, missing = [], {}
        if window:
            yield window, list(missing)

    def _to_compute(self, batch: list[View], rows: RowStore) -> list[View]:
        absent = [batch[at] for at in rows.missing(self._names(batch))]
        if absent and self._bridge:
            absent = [absent[at] for at in self._bridge.rows.missing(self._names(absent))]
        return absent

    def _kept(self, source: _Source, rows: RowStore, batch: list[View]) -> Rows:
        names = self._names(batch)
        try:
            bridged = [names[at] for at in rows.missing(names)]
            if bridged:
                assert self._bridge
                rows.put(bridged, self._bridge.prefix(*self._bridge.rows.get(bridged)))
            return rows.get(names)
        except KeyError:  # the cache's files were damaged while they were in use
            return self._computed(source, next(iter(self._images([batch]))))

    def _computed(self, source: _Source | None, images: torch.Tensor) -> Rows:
        if source is None:
            return (self._normalize(images),)
        parts = []
        for some in images.split(source.prefix.chunk):
            self._check()
            parts.append(source.prefix(self._normalize(some)))
        return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))

    def _images(self, draws: list[list[View]]) -> Iterator[torch.Tensor]:
        return iter(image_loader(self._dataset, draws, self._workers)) if draws else iter(())

    def _names(self, views: Sequence[View]) -> list[bytes]:
        return [self._views.cache_key(self._keys[image], number) for image, number in views]

    def _batch(self, rows: Rows, views: list[View]) -> Batch:
        if self._precision.name == "fp32":  # elsewhere autocast brings types together
            rows = tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in rows)
        return Batch(rows, self._labels[on_device([view.image for view in views], self._labels.device)])

    def _open_rows(self, split: Split, prefix: Prefix, found_by: str) -> RowStore | None:
        trained = len(self._data.splits.get("train", []))
        expected = trained * self._views.count + len(self._data.samples) - trained
        device = self._precision.device
        if device.type == "cuda":
            budget = torch.cuda.mem_get_info(device)[0] // 4
        else:
            budget = memory_budget(self._config.data.cache_gb)
        like = prefix.row(self._normalize(self._dataset.__getitems__([View(0, CENTRE)])))
        needed = expected * row_bytes(like)
        if needed > max(budget, _disk_limit()):
            self._tell(
                "cache_too_small",
                f"what {split.label} gives would take {needed / 2**30:.1f} GiB, more than memory or the cache's "
                "disk has room for; it is computed anew in each epoch",
            )
            return None
        about = {
            "data": data_label(self._config),
            "model": self._config.model.name,
            "boundary": split.label,
            "precision": self._frozen_precision.name,
        }
        space = Space(cache_root(), "features", found_by, about, self._tell, memory_budget(self._config.data.cache_gb))
        part = expected if self._ranks.count == 1 else math.ceil(_MORE * expected / self._ranks.count)
        rows = RowStore(like, space, budget, min(part, expected))
        rows.missing(self._keys)  # so that one sees from the start how much is there
        return rows


def _centres(members: Sequence[int], batch_size: int) -> list[list[View]]:
    return [[View(i, CENTRE) for i in members[at : at + batch_size]] for at in range(0, len(members), batch_size)]


def _disk_limit() -> int:
    root = cache_root()
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        return limit(root)
    except OSError:
        return 0
