"""A run's metrics as TensorBoard event files, in ``tensorboard/`` in its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from engine.errors import InputError, first_line
from engine.runs import events as p
from engine.runs.folder import RunFolder
from engine.warning_codes import Warn


def writer(folder: RunFolder, warn: Warn) -> Callable[[p.Event], None]:
    """A listener that writes events to TensorBoard. Raises InputError if TensorBoard is not installed.

    If a file can't be written it warns once and writes no more.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            f"log.tensorboard = true needs TensorBoard, which can't be imported here ({first_line(error)}); "
            'pip install "tltui[tensorboard]", or set it to false'
        ) from None
    files: SummaryWriter | None = None
    broken = False

    def write(event: p.Event) -> None:
        nonlocal files, broken
        if broken:
            return
        try:
            if files is None:
                logs = folder.path / "tensorboard"
                os.makedirs(logs, mode=0o700, exist_ok=True)
                files = SummaryWriter(str(logs), flush_secs=5)
            for name, value, step in _scalars(event):
                files.add_scalar(name, value, step, walltime=event.time)
            if isinstance(event, p.RunFinished):
                files.close()
        except Exception as error:  # a full disk surfaces as any error of the writer's thread
            broken = True
            warn(
                "not_written",
                f"TensorBoard's files can't be written ({first_line(error)}); the run continues without them",
            )

    return write


def _scalars(event: p.Event) -> Iterator[tuple[str, float, int]]:
    """Name, value and step of each metric in ``event``."""
    metrics: dict[str, float | None]
    match event:
        case p.Step():
            metrics = {"loss/train": event.loss, "gradient norm": event.grad_norm}
            metrics["images per second"] = event.images_per_second
            metrics |= {f"learning rate/{group}": rate for group, rate in event.lr.items()}
        case p.Epoch():
            metrics = {"loss/val": event.val_loss, "accuracy/val": event.val_accuracy}
            metrics["accuracy/train"] = event.train_accuracy
            metrics |= {f"{name}/train": value for name, value in event.train_metrics.items()}
            metrics |= {f"{name}/val": value for name, value in event.val_metrics.items()}
        case p.Layers():
            metrics = {f"weight change/{stage}": change for stage, change in event.stages.items()}
        case p.Forgetting():
            metrics = {f"CKA/{stage}": value for stage, value in event.cka.items()}
            metrics["original answers kept"] = event.agreement
        case _:
            return
    yield from ((name, value, event.step) for name, value in metrics.items() if value is not None)
