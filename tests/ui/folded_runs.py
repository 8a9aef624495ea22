"""Runs for tests of the app: real event lines, encoded, decoded and folded as the app does it."""

from __future__ import annotations

import math
import random

from engine.runs import commands
from engine.runs import events as p
from engine.runs.state import RunState, fold_all


def through_a_log(events: list[p.AnyEvent]) -> list[p.AnyEvent]:
    """The events as they come back from lines of a log, numbered."""
    for seq, event in enumerate(events, start=1):
        event.seq, event.time = seq, 1000.0 + seq
    return [p.decode_event(commands.encode(event)) for event in events]


def beginning(
    epochs: int, steps_per_epoch: int, images: int = 1280, classes: tuple[str, ...] = ("daisy", "rose")
) -> list[p.AnyEvent]:
    """What comes before the first step."""
    return [
        p.RunStarted(
            run="ab12-flowers",
            versions={},
            device="cpu",
            device_name="CPU",
            precision="fp32",
            frozen_precision="fp32",
            process_id=1,
            seed=42,
            epochs=epochs,
        ),
        p.DataReady(
            classes=list(classes),
            counts={"train": images, "val": 200, "test": 200},
            class_counts={},
            skipped=[],
            seconds=1.0,
        ),
        p.ModelReady(
            name="resnet18",
            parameters=p.ParameterCounts(total=100, trainable=10, frozen=90),
            head=["fc"],
            input_size=224,
            rules=["freeze *", "train head"],
            steps_per_epoch=steps_per_epoch,
            weights=p.WeightsReport(source="here"),
        ),
    ]


def training(
    steps: range, steps_per_epoch: int, *, groups: tuple[str, ...] = ("head", "backbone"), seed: int = 1
) -> list[p.AnyEvent]:
    """Steps whose loss falls with noise, and an epoch at the end of each."""
    noise = random.Random(seed)
    events: list[p.AnyEvent] = []
    for step in steps:
        loss = 3 * math.exp(-step / steps.stop * 4) + 0.1 + noise.random() * 0.3
        epoch = (step - 1) // steps_per_epoch + 1
        rates = {group: 1e-3 / 10**at for at, group in enumerate(groups)}
        events.append(p.Step(step=step, epoch=epoch, loss=loss, lr=rates, grad_norm=loss / 2, images_per_second=400.0))
        if step % steps_per_epoch == 0:
            events.append(an_epoch(epoch, step, loss))
    return events


def an_epoch(epoch: int, step: int, loss: float) -> p.Epoch:
    """An epoch whose accuracies follow its loss."""
    return p.Epoch(
        epoch=epoch,
        step=step,
        train_loss=loss,
        train_accuracy=math.exp(-loss / 3),
        val_loss=loss * 1.1,
        val_accuracy=math.exp(-loss / 2.5),
        seconds=4.0,
        frozen_digest="",
        frozen_unchanged=True,
    )


def new_plan(step: int, rules: list[str], id: str = "c1") -> p.CommandApplied:
    """The freeze plan changed before the next step."""
    return p.CommandApplied(command=commands.Set(id=id, key="freeze.rules", value=rules), step=step)


def a_run(done: int = 300, steps_per_epoch: int = 40, epochs: int = 10) -> RunState:
    """A run in the midst of training, with a plan that changed at step 120."""
    events = [*beginning(epochs, steps_per_epoch), *training(range(1, done + 1), steps_per_epoch)]
    events.insert(3 + 123, new_plan(120, ["freeze *", "train head", "train layer4"]))
    return fold_all(through_a_log(events))


def a_look(step: int, epoch: int, size: float = 1.0) -> p.Layers:
    """At a ResNet-18 whose last stage and head train; layer3 did so before. ``size``: of all that moves."""

    def layer(moved: float, gradient: float) -> p.LayerNorms:
        moved, gradient = size * moved, size * gradient
        return p.LayerNorms(start=4.0, moved=moved, weight=4.0, gradient=gradient, update=gradient / 1000)

    return p.Layers(
        step=step,
        epoch=epoch,
        layers={
            "layer3.0.conv1": layer(0.2, 0.0),
            "layer4.0.conv1": layer(0.03, 0.3),
            "layer4.0.conv2": layer(0.04, 0.4),
            "fc": layer(1.0, 2.0),
        },
        dead={"layer4.0.relu": p.DeadUnits(256, 1024), "layer4.1.relu": p.DeadUnits(0, 1024)},
        stages={"layer3": size * 0.05, "layer4": size * 0.0125, "head": size * 0.25},
    )
