"""Predicts logits for images without augmentation, with a network split into prefix and suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from engine.compute.batch_fit import Fits, release
from engine.compute.precision import Precision
from engine.data.loaders import batch_count
from engine.models.split import NetworkSplit
from engine.training.distributed import SINGLE_PROCESS, Ranks
from engine.training.feature_loader import Batch, FeatureLoader


def predict_logits(
    split: NetworkSplit,
    loader: FeatureLoader,
    members: Sequence[int],
    batch_size: int,
    precision: Precision,
    fits: Fits,
    report_batches: Callable[[int, int], None],
    ranks: Ranks = SINGLE_PROCESS,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits (N, classes) in fp32 and labels (N,) of each batch, on the device. ``members`` are image indices.

    The network has to be in evaluation mode. ``report_batches`` receives the number of batches done and their total.
    Several processes take turns at the batches; the first yields all of them, the others none.
    """
    total = batch_count(len(members), batch_size)
    batches = loader.eval_batches(members, batch_size, slice(ranks.rank, None, ranks.world_size))
    for start in range(0, total, ranks.world_size):
        batch = next(batches) if start + ranks.rank < total else None
        predicted = batch and (_forward(split, batch, precision, fits).float(), batch.labels)
        if ranks.world_size > 1 and predicted:
            predicted = predicted[0].cpu(), predicted[1].cpu()
        for number, (logits, labels) in enumerate(filter(None, ranks.gather(predicted)), start + 1):
            report_batches(number, total)
            yield logits.to(precision.device), labels.to(precision.device)
    next(batches, None)  # lets the loader publish the features that it computed


def _forward(split: NetworkSplit, batch: Batch, precision: Precision, fits: Fits) -> torch.Tensor:
    """Logits of a batch, in as few parts as memory allows."""
    while True:
        parts = fits.parts("eval", len(batch.labels))
        try:
            with torch.no_grad(), precision.autocast():
                outputs = [split.suffix_eval(*(tensor[part] for tensor in batch.inputs)) for part in parts]
            return torch.cat(outputs) if len(parts) > 1 else outputs[0]
        except Exception as error:
            fits.shrink("eval", max(part.stop - part.start for part in parts), error)
        release(precision.device)
