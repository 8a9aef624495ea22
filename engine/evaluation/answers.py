"""What a network that is cut answers to pictures without augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from engine.data.loaders import batch_count
from engine.models.split import Split
from engine.training.feed import Batch, Feed
from engine.training.memory import Fits, release
from engine.training.precision import Precision


def answers(
    split: Split,
    feed: Feed,
    members: Sequence[int],
    batch_size: int,
    precision: Precision,
    fits: Fits,
    tell_batches: Callable[[int, int], None],
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits (N, classes) in fp32 and labels (N,) of each batch, on the device, for pictures by their positions.

    The network has to be in evaluation mode. ``tell_batches`` is given how many are done, and of how many.
    """
    for number, batch in enumerate(feed.centres(members, batch_size), 1):
        logits = _logits(split, batch, precision, fits)
        tell_batches(number, batch_count(len(members), batch_size))
        yield logits.float(), batch.labels


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
