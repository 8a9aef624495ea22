"""What a network that is cut answers to images without augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from engine.compute.batch_fit import Fits, release
from engine.compute.precision import Precision
from engine.data.loaders import batch_count
from engine.models.split import Split
from engine.training.distributed import ALONE, Ranks
from engine.training.feature_loader import Batch, Feed


def answers(
    split: Split,
    feed: Feed,
    members: Sequence[int],
    batch_size: int,
    precision: Precision,
    fits: Fits,
    tell_batches: Callable[[int, int], None],
    ranks: Ranks = ALONE,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits (N, classes) in fp32 and labels (N,) of each batch, on the device, for images by their positions.

    The network has to be in evaluation mode. ``tell_batches`` is given how many are done, and of how many. Several
    processes take turns at the batches; the first is given the answers of all, the others none.
    """
    total = batch_count(len(members), batch_size)
    own = feed.centres(members, batch_size, slice(ranks.rank, None, ranks.count))
    for begun in range(0, total, ranks.count):
        batch = next(own) if begun + ranks.rank < total else None
        answer = batch and (_logits(split, batch, precision, fits).float(), batch.labels)
        if ranks.count > 1 and answer:
            answer = answer[0].cpu(), answer[1].cpu()
        for number, given in enumerate(filter(None, ranks.to_first(answer)), begun + 1):
            tell_batches(number, total)
            yield given[0].to(precision.device), given[1].to(precision.device)
    next(own, None)  # lets the feed publish what it computed


def _logits(split: Split, batch: Batch, precision: Precision, fits: Fits) -> torch.Tensor:
    while True:
        parts = fits.parts("eval", len(batch.labels))
        try:
            with torch.no_grad(), precision.autocast():
                outputs = [split.suffix_eval(*(tensor[part] for tensor in batch.inputs)) for part in parts]
            return torch.cat(outputs) if len(parts) > 1 else outputs[0]
        except Exception as error:
            fits.shrink("eval", max(part.stop - part.start for part in parts), error)
        release(precision.device)
