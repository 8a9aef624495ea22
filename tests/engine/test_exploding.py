"""Numbers that explode, and batches that memory is too small for."""

from __future__ import annotations

import math
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.cache.folder import CACHE, FITS
from engine.compute.batch_fit import is_out_of_memory
from engine.compute.loss import ClassCriterion, cross_entropy_sum
from engine.config.schema import RunConfig
from engine.errors import TrainingFailed
from engine.runs.event_log import EventTail
from engine.runs.events import Warning
from engine.training.feature_loader import Batch
from engine.training.forward_backward import forward_backward
from engine.training.loop import build_criterion, fit
from engine.training.session import Session
from engine.training.step import launch_step, read_step
from tests.conftest import Sessions

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError(
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input"
    ),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB, other allocations: 1.00 MB)"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 411041792 bytes. Error code 12 (Cannot allocate memory)"
    ),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@contextmanager
def room_for(images: int, layer: nn.Module, error: Exception = ERRORS[0]) -> Iterator[list[int]]:
    """A device on which ``layer`` takes so many images at a time; gives the sizes that were tried."""
    tried: list[int] = []

    def check(_layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        tried.append(len(inputs[0]))
        if len(inputs[0]) > images:
            raise error

    handle = layer.register_forward_pre_hook(check)
    try:
        yield tried
    finally:
        handle.remove()


def warnings(session: Session, code: str) -> list[str]:
    found = [event for event in EventTail(session.context.folder).poll() if isinstance(event, Warning)]
    return [event.message for event in found if event.code == code]


def first_batch(session: Session, size: int = 8) -> Batch:
    return next(iter(session.loader.training_batches([session.data.splits["train"][:size]], 1)))


def gradients(session: Session) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in session.freezing.trainable.items() if p.grad is not None}


WHOLE = {"freeze": {"rules": [], "norm_stats": "frozen"}, "head": {"dropout": 0.0}}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:30])
def test_every_out_of_memory_error_halves_the_batch(
    error: Exception, session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(**WHOLE))
    batch = first_batch(run)
    run.step += 1
    with room_for(3, run.classifier.module.get_submodule("layer2"), error) as tried:
        result = read_step(run, launch_step(run, batch, build_criterion(run)))
    assert tried == [8, 4, 2, 2, 2, 2]
    assert result.count == 8
    assert math.isfinite(result.loss)
    told = warnings(run, "out_of_memory")
    assert "8 images at a time do not fit into the memory of cpu" in told[0]
    assert "in parts of 2" in told[-1]


def test_other_errors_are_not_out_of_memory():
    assert not any(
        is_out_of_memory(error) for error in (RuntimeError("mat1 and mat2 shapes can't be multiplied"), OSError(28))
    )


@pytest.mark.parametrize(
    "loss",
    [{}, {"class_weights": "balanced"}, {"class_weights": "balanced", "label_smoothing": 0.1}],
    ids=["plain", "weighted", "weighted and smoothed"],
)
@pytest.mark.parametrize("parts", [(4, 8), (3, 6, 8), (1, 2, 3, 4, 5, 6, 7, 8)])
def test_a_batch_in_parts_has_the_gradients_of_one_pass(
    parts: tuple[int, ...], loss: dict[str, object], session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(**WHOLE, train=loss))
    batch = first_batch(run)
    weights = torch.tensor([0.2, 1.0, 3.0]) if loss else None
    criterion = ClassCriterion(cross_entropy_sum, weights, float(str(loss.get("label_smoothing", 0.0))), 0.0)
    whole_loss, whole_correct = forward_backward(run, batch, criterion, [slice(0, 8)])
    whole = gradients(run)
    run.optimizer.zero_grad(set_to_none=True)
    starts = (0, *parts[:-1])
    parted_loss, correct = forward_backward(
        run, batch, criterion, [slice(*ends) for ends in zip(starts, parts, strict=True)]
    )
    parted = gradients(run)
    assert whole.keys() == parted.keys() == run.freezing.trainable.keys()
    assert all(torch.allclose(parted[name], whole[name], rtol=1e-5, atol=1e-6) for name in whole)
    assert parted_loss.item() == pytest.approx(whole_loss.item(), rel=1e-6)
    assert correct == whole_correct


def test_a_repeated_step_moves_batch_statistics_as_far_as_one(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": []}, head={"dropout": 0.0}))
    module = run.classifier.module
    norm = module.get_submodule("bn1")
    started = norm.running_mean.clone()
    batch = first_batch(run)
    # The same four images twice: each half has the whole batch's mean.
    batch = Batch(
        tuple(torch.cat([t[:4], t[:4]]) for t in batch.inputs), torch.cat([batch.labels[:4], batch.labels[:4]])
    )
    with torch.no_grad():
        mean = module.get_submodule("conv1")(batch.inputs[0]).mean((0, 2, 3))
    run.step += 1
    with room_for(4, module.get_submodule("layer4")):
        read_step(run, launch_step(run, batch, build_criterion(run)))
    assert norm.num_batches_tracked == 1
    assert norm.momentum == 0.1
    assert torch.allclose(norm.running_mean, started * 0.9 + mean * 0.1, atol=1e-5)


def test_a_run_continues_in_parts_and_the_next_run_begins_with_them(
    session: Sessions, config: Callable[..., RunConfig], own_cache: Path
):
    first = session(config(**WHOLE))
    with room_for(4, first.classifier.module.get_submodule("layer2")) as tried:
        fit(first)
    assert max(tried) == 8
    assert first.epoch == 2
    assert len(warnings(first, "out_of_memory")) == 2  # training and evaluation
    assert (own_cache / FITS).stat().st_mode & 0o77 == 0

    second = session(config(**WHOLE))
    with room_for(4, second.classifier.module.get_submodule("layer2")) as tried:
        fit(second)
    assert max(tried) == 4
    assert "in an earlier run" in warnings(second, "out_of_memory")[0]

    other_plan = session(config(freeze={"rules": ["freeze *", "train layer4", "train head"]}))
    assert other_plan.fits.size("train", 8) == 8


def test_frozen_layers_are_computed_in_smaller_chunks(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config())
    prefix = run.loader.prefix
    assert prefix
    with room_for(9, next(layer for layer in prefix.module.modules() if isinstance(layer, nn.Conv2d))):
        fit(run)
    assert run.epoch == 2
    assert prefix.chunk == 8
    assert "batches of frozen layers now go through in parts of 8" in warnings(run, "out_of_memory")[-1]


def test_a_run_fails_with_advice_if_no_single_image_fits(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(**WHOLE))
    with (
        room_for(0, run.classifier.module.get_submodule("layer2")),
        pytest.raises(
            TrainingFailed, match=r"one image at a time does not fit into the memory of cpu .* lower data\.image_size"
        ),
    ):
        fit(run)


LIMITED = """
import resource, sys, torch
from torch import nn
from engine.compute.batch_fit import is_out_of_memory
torch.set_num_threads(1)
layer = nn.Conv2d(3, 64, 3, padding=1)
layer(torch.ones(1, 3, 64, 64)).sum().backward()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
try:
    layer(torch.ones(512, 3, 256, 256)).sum().backward()
except Exception as error:
    sys.exit(0 if is_out_of_memory(error) else f"{type(error)}: {error}")
sys.exit("it fitted")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_out_of_memory_on_the_cpu_is_recognised():
    assert resource.getrlimit(resource.RLIMIT_AS)
    done = subprocess.run([sys.executable, "-c", LIMITED], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@contextmanager
def spoiled(layer: nn.Module, at: int) -> Iterator[None]:
    """``layer`` gives one infinity in its ``at``-th pass and in all that follow."""
    passes = 0

    def spoil(_layer: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        nonlocal passes
        passes += 1
        if passes < at:
            return output
        spoiled = output.clone()
        spoiled[0, 0, 0, 0] = math.inf
        return spoiled

    handle = layer.register_forward_hook(spoil)
    try:
        yield
    finally:
        handle.remove()


def test_the_layer_of_the_first_nonfinite_value_is_named(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": []}, optimizer={"clip_norm": 0.0}))
    with spoiled(run.classifier.module.get_submodule("layer2.0.conv1"), at=3), pytest.raises(TrainingFailed) as failed:
        fit(run)
    assert "at step 3, first in the output of layer2.0.conv1" in str(failed.value)
    assert "lower optimizer.lr (it is 0.01) or set optimizer.clip_norm = 1.0" in str(failed.value)
    assert all(torch.isfinite(tensor).all() for tensor in run.classifier.module.state_dict().values())


def test_a_nonfinite_gradient_is_traced_to_its_layer(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": []}))
    layer = run.classifier.module.get_submodule("layer3.0.conv2")
    layer.register_full_backward_hook(lambda _layer, inputs, _outputs: tuple(g * math.inf for g in inputs))
    with pytest.raises(
        TrainingFailed, match=r"a gradient was not finite at step 1, first in the gradient of layer3\.0\."
    ):
        fit(run)


def test_skipping_a_step_leaves_batch_statistics_finite_and_where_they_were(
    session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(freeze={"rules": []}, train={"on_nan": "skip"}))
    module = run.classifier.module
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    run.step += 1
    with spoiled(module.get_submodule("layer2.0.conv1"), at=1):
        result = read_step(run, launch_step(run, first_batch(run), build_criterion(run)))
    assert not result.finite
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_locating_the_first_nonfinite_value_does_not_change_the_run(
    session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(freeze={"rules": []}))
    run.step += 1
    launched = launch_step(run, first_batch(run), build_criterion(run))
    before = {name: tensor.clone() for name, tensor in run.classifier.module.state_dict().items()}
    random = torch.get_rng_state()
    assert launched.locate_nonfinite() == ""
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.classifier.module.state_dict().items())
