"""Makes the processes of a run train on the same images and splits."""

from __future__ import annotations

import hashlib
import socket

from engine.config.schema import RunConfig
from engine.data.loaders import training_batch_count
from engine.data.prepare import Data
from engine.errors import InputError
from engine.files.atomic import write_atomically
from engine.runs.folder import RunFolder
from engine.training.distributed import Ranks


def share_splits(folder: RunFolder, ranks: Ranks) -> None:
    """Copy splits.csv of the first process into the ``folder`` of the others.

    The first process calls it after it has prepared its data, the others before. They wait for it, so that each
    machine downloads and decodes an image once.
    """
    splits = ranks.broadcast_value(lambda: folder.splits.read_bytes() if folder.splits.is_file() else b"")
    if not ranks.is_main:
        write_atomically(folder.splits, splits)


def check_same_data(config: RunConfig, data: Data, ranks: Ranks) -> None:
    """Raise InputError if a process has other images than the first, or if batches are smaller than the world size."""
    if ranks.world_size == 1:
        return
    content = hashlib.sha256(data.keys.tobytes())
    content.update(repr((data.classes, data.splits)).encode())
    if ranks.broadcast_value(content.digest) != content.digest():
        where = config.data.path or config.data.name
        raise InputError(f"{where}: the images on {socket.gethostname()} are not those of the first process")
    train, size = len(data.splits["train"]), config.train.batch_size
    per_step = train // training_batch_count(train, config.train.step_size)
    smallest = per_step // training_batch_count(per_step, size)
    if smallest < ranks.world_size:
        raise InputError(
            f"train.batch_size = {size} makes batches of {smallest} of the {train} training images, fewer than the "
            f"{ranks.world_size} processes that share them; raise it or use fewer processes"
        )
