"""Optimizers, schedules, the loop, checkpoints."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file

from engine.compute.loss import ClassCriterion, balanced_weights, cross_entropy_sum
from engine.compute.precision_benchmark import choose_precision
from engine.config.schema import HeadConfig, OptimizerConfig, RunConfig, ScheduleConfig
from engine.config.toml_io import with_setting
from engine.errors import InputError, TrainingFailed
from engine.models import registry
from engine.runs.command_log import new_command_id, send
from engine.runs.commands import Pause, Resume, SaveCheckpoint, Set, Stop
from engine.runs.event_log import EventTail
from engine.runs.events import Checkpoint, CommandApplied, CommandRejected, Epoch, Step, Warning
from engine.runs.folder import RunFolder
from engine.runs.progress import quiet
from engine.runs.stopped import Stopped
from engine.training import checkpoints, lr_schedules, optimizers
from engine.training.checkpointing import finish_checkpoints, roll_back, save_checkpoint
from engine.training.command_handler import apply_commands
from engine.training.loop import build_criterion, fit
from engine.training.session import Session
from engine.training.step import launch_step
from tests.conftest import Engine, Sessions, make_weights


def events(session: Session, kind: type) -> list:
    return [event for event in EventTail(session.context.folder).poll() if isinstance(event, kind)]


@pytest.mark.real_start  # each with string hashes of its own
def test_the_same_seed_gives_the_same_losses_and_another_does_not(engine: Engine, config: Callable[..., RunConfig]):
    def start(seed: int) -> tuple[RunFolder, subprocess.Popen[bytes]]:
        wanted = config(
            data={"augment": "standard", "workers": 0},
            head={"dropout": 0.5},
            freeze={"rules": []},
            train={"seed": seed, "epochs": 1},
        )
        return engine.start(wanted)

    def losses(folder: RunFolder, process: subprocess.Popen[bytes]) -> list[float | None]:
        assert process.wait(timeout=120) == 0, folder.log.read_text()
        return [event.loss for event in EventTail(folder).poll() if isinstance(event, Step)]

    first, same, other = (losses(*run) for run in [start(seed) for seed in (1, 1, 2)])
    assert first
    assert first == same
    assert first != other


def test_l2_sp_pulls_the_backbone_to_its_start_in_place_of_weight_decay(
    session: Sessions, config: Callable[..., RunConfig], tmp_path: Path
):
    weights = str(make_weights(tmp_path / "weights.pt"))

    def gradients(l2_sp: float) -> dict[str, torch.Tensor]:
        run = session(
            config(
                model={"weights": weights},
                freeze={"rules": ["freeze *", "train layer4", "train head"]},
                head={"dropout": 0.0},
                optimizer={"clip_norm": 0.0, "name": "sgd", "weight_decay": 0.1},
                train={"l2_sp": l2_sp},
            )
        )
        decays = {
            (group["depth"], group["weight_decay"]) for group in run.optimizer.param_groups if group["weight_decay"]
        }
        assert decays == ({("head", 0.1)} if l2_sp else {("head", 0.1), ("backbone", 0.1)})
        with torch.no_grad():
            for parameter in run.freezing.trainable.values():
                parameter.add_(0.25)
        batch = next(iter(run.loader.training_batches([run.data.splits["train"][:8]], 1)))
        launch_step(run, batch, build_criterion(run))
        return {name: p.grad.clone() for name, p in run.freezing.trainable.items() if p.grad is not None}

    free, pulled = gradients(0.0), gradients(2.0)
    assert free.keys() == pulled.keys()
    for name in free:
        expected = 0.5 if name.startswith("layer4") else 0.0
        torch.testing.assert_close(pulled[name] - free[name], torch.full_like(free[name], expected))


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_accumulated_batches_take_the_steps_of_one_large_batch(
    weights: str, session: Sessions, config: Callable[..., RunConfig]
):
    def losses(**train: object) -> list[tuple[float, float]]:
        run = session(
            config(
                freeze={"rules": [], "norm_stats": "frozen"},
                head={"dropout": 0.0},
                optimizer={"clip_norm": 0.1, "name": "sgd"},
                train={"class_weights": weights, "epochs": 2, **train},
            )
        )
        fit(run)
        return [(step.loss, step.grad_norm) for step in events(run, Step)]

    large = losses(batch_size=10)  # 24 images: steps of 8
    parted = losses(batch_size=3, accumulate=3)  # batches of 2 and 3
    assert len(large) == len(parted) == 6
    assert parted == [pytest.approx(step, rel=1e-4) for step in large]


def groups_of(config: OptimizerConfig, name: str = "timm/test_resnet") -> list[dict]:
    classifier = registry.build(name, 3, HeadConfig())
    trainable = dict(classifier.module.named_parameters())
    return optimizers.build(config, trainable, optimizers.parameter_depths(classifier)).param_groups


def test_weight_decay_excludes_biases_and_norms():
    for group in groups_of(OptimizerConfig(weight_decay=0.1)):
        for name, parameter in zip(group["names"], group["params"], strict=True):
            spared = name.endswith("bias") or ".bn" in name or name.startswith("bn") or parameter.ndim == 1
            assert group["weight_decay"] == (0.0 if spared else 0.1), name


def test_learning_rates_decay_from_the_head_to_the_stem():
    config = OptimizerConfig(lr=1.0, backbone_lr_factor=0.5, layer_decay=0.1)
    factors = {group["depth"]: group["factor"] for group in groups_of(config)}
    assert factors == pytest.approx(
        {"head": 1.0, "layer4": 0.5, "layer3": 0.05, "layer2": 0.005, "layer1": 0.0005, "conv1": 0.00005}
    )
    plain = {group["depth"]: group["factor"] for group in groups_of(OptimizerConfig(backbone_lr_factor=0.5))}
    assert plain == {"head": 1.0, "backbone": 0.5}


def test_class_tokens_and_embeddings_have_the_stems_learning_rate():
    config = OptimizerConfig(layer_decay=0.5)
    factor = {name: group["factor"] for group in groups_of(config, "timm/test_vit") for name in group["names"]}
    assert factor["cls_token"] == factor["pos_embed"] == factor["patch_embed.proj.weight"]
    assert factor["cls_token"] < factor["blocks.0.norm1.weight"]


def curve(name: str, warmup: float = 0.0) -> list[float]:
    return [lr_schedules.factor(ScheduleConfig(name=name, warmup_epochs=warmup), step, 10, 9) for step in range(90)]


def test_schedules_have_their_shapes():
    assert set(curve("constant")) == {1.0}
    cosine = curve("cosine")
    assert cosine[0] == 1.0
    assert cosine[45] == pytest.approx(0.5)
    assert cosine == sorted(cosine, reverse=True)
    assert [curve("step")[at] for at in (0, 29, 30, 59, 60, 89)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    onecycle = curve("onecycle")
    assert onecycle[0] == pytest.approx(1 / 25)
    assert onecycle.index(max(onecycle)) == 27
    assert onecycle[-1] < 0.01


def test_warm_restarts_are_those_of_torch():
    made = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    sgdr = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(made, T_0=10, T_mult=2)
    expected = []
    for _ in range(70):  # cycles of 10, 20 and 40 steps
        expected.append(made.param_groups[0]["lr"])
        made.step()
        sgdr.step()
    config = ScheduleConfig(name="cosine_restarts", cycles=3, cycle_mult=2.0)
    found = [lr_schedules.factor(config, step, 10, 7) for step in range(70)]
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
def test_a_plateau_is_that_of_torch(mode: Literal["max", "min"], sign: int):
    generator = torch.Generator().manual_seed(0)
    values = (torch.rand(60, generator=generator) + 0.5).tolist()
    made = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(made, mode, factor=0.5, patience=2)
    config = ScheduleConfig(name="plateau", plateau_patience=2, plateau_factor=0.5)
    for epoch in range(1, 61):
        plateau.step(values[epoch - 1])
        scores = [sign * value for value in values[:epoch]]
        found = lr_schedules.factor(config, epoch * 10, 10, 60, scores)
        assert found == pytest.approx(max(made.param_groups[0]["lr"], 0.0), abs=1e-7)
    assert lr_schedules.factor(config, 0, 10, 60, []) == 1.0


@pytest.mark.parametrize("name", ["constant", "cosine", "cosine_restarts", "step", "onecycle", "plateau"])
def test_warmup_rises_to_the_start_of_the_schedule(name: str):
    rates = curve(name, warmup=2.0)
    assert rates[:20] == sorted(rates[:20])
    assert rates[0] == pytest.approx(1 / 21)
    assert all(0 <= rate <= 1 for rate in rates)


def test_auxiliary_heads_add_their_loss_with_their_weight():
    logits, other, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    alone = ClassCriterion(cross_entropy_sum, None, 0.0, 0.4)
    expected = alone(logits, labels) + 0.4 * alone(other, labels)
    assert torch.equal(alone((logits, other), labels), expected)
    inception = registry.build("inception_v3", 3, HeadConfig())
    outputs = inception.module.train()(torch.randn(2, 3, 299, 299))
    ClassCriterion(cross_entropy_sum, None, 0.0, inception.aux_weight)(outputs, torch.tensor([0, 1])).backward()
    assert inception.module.get_submodule("AuxLogits.fc").weight.grad is not None


def test_rare_classes_have_larger_weights_with_the_same_mean():
    weights = balanced_weights([30, 10])
    assert weights.tolist() == pytest.approx([2 / 3, 2.0])
    assert (weights * torch.tensor([30, 10])).sum() == pytest.approx(40)


def test_gradients_are_clipped_and_the_norm_before_clipping_is_reported(
    session: Sessions, config: Callable[..., RunConfig]
):
    def change(clip: float) -> tuple[float, float]:
        settings = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 1.0, "clip_norm": clip}
        run = session(config(optimizer=settings, schedule={"name": "constant"}, train={"epochs": 1, "batch_size": 64}))
        before = [p.detach().clone() for p in run.freezing.trainable.values()]
        fit(run)
        after = [p.detach() for p in run.freezing.trainable.values()]
        moved = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(before, after, strict=True)))
        return moved, events(run, Step)[0].grad_norm

    moved, norm = change(1e-3)
    assert moved == pytest.approx(1e-3, rel=1e-3)
    assert norm > 0.01
    free, same_norm = change(0.0)
    assert free == pytest.approx(same_norm, rel=1e-3)
    assert same_norm == norm


def test_training_stops_early_without_improvement(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(optimizer={"lr": 1e-9}, train={"epochs": 50, "early_stop_patience": 2}))
    assert "stopped early" in fit(run)
    assert run.best is not None
    assert run.epoch == run.best.epoch + 2


def test_commands_change_learning_rate_clipping_and_epochs(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(schedule={"name": "constant"}))
    for key, value in (("optimizer.lr", 0.5), ("optimizer.clip_norm", 2), ("train.epochs", 1)):
        send(run.context.folder, Set(id=new_command_id(), key=key, value=value))
    fit(run)
    assert run.epoch == 1
    assert all(step.lr == {"head": 0.5} for step in events(run, Step))
    assert [answer.command.value for answer in events(run, CommandApplied)] == [0.5, 2, 1]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("optimizer.lr", -1, "0 < x"),
        ("optimizer.name", "sgd", "can't change once a run has begun"),
        ("optimizer.speed", 1, "is not a setting"),
        ("train.epochs", 0, "1 ≤ x"),
    ],
)
def test_a_setting_that_is_not_live_is_rejected_with_a_reason(
    key: str, value: object, says: str, session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config())
    send(run.context.folder, Set(id="one", key=key, value=value))
    apply_commands(run)
    (refusal,) = events(run, CommandRejected)
    assert refusal.command.id == "one"
    assert says in refusal.reason


def test_a_pause_lasts_until_resume_or_stop(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config())
    for command in (Pause(id="1"), Pause(id="2"), Set(id="3", key="optimizer.lr", value=0.1), Resume(id="4")):
        send(run.context.folder, command)
    apply_commands(run)
    assert [type(event).__name__ for event in events(run, CommandApplied | CommandRejected)] == [
        "CommandApplied", "CommandRejected", "CommandApplied", "CommandApplied",
    ]  # fmt: skip
    for command in (Pause(id="5"), Stop(id="6")):
        send(run.context.folder, command)
    with pytest.raises(Stopped):
        apply_commands(run)


def test_a_checkpoint_holds_all_weights_and_the_trainer_state(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(freeze={"rules": ["freeze *", "train layer4", "train head"]}))
    fit(run)
    last = run.context.folder.checkpoints / "last"
    weights = load_file(last / "model.safetensors")
    own = run.classifier.module.state_dict()
    assert weights.keys() == own.keys()
    assert all(torch.equal(weights[name], own[name]) for name in own)
    state = checkpoints.load_trainer(last)
    held = optimizers.named_state(run.optimizer)
    assert (state.epoch, state.step) == (run.epoch, run.step)
    assert state.settings == run.config.model_dump()
    remembered = checkpoints.load_optimizer(last)
    assert remembered.keys() == held.keys()
    assert all(torch.equal(remembered[name]["exp_avg"], held[name]["exp_avg"]) for name in held)


def test_best_names_the_best_epoch_and_the_one_before_the_last_is_kept(
    session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(train={"epochs": 5}))
    fit(run)
    best = max(events(run, Epoch), key=lambda epoch: (epoch.val_accuracy, -epoch.val_loss))
    assert json.loads((run.context.folder.checkpoints / "best" / "trainer.json").read_text())["epoch"] == best.epoch
    folders = {path.name for path in run.context.folder.checkpoints.iterdir() if not path.is_symlink()}
    last = f"step-{run.step:08}"
    assert (run.context.folder.checkpoints / "last").resolve().name == last
    written = sorted({f"step-{checkpoint.step:08}" for checkpoint in events(run, Checkpoint)})
    assert folders == {f"step-{best.step:08}", *written[-2:]}


def test_a_checkpoint_is_written_on_command(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config())
    send(run.context.folder, SaveCheckpoint(id="now"))
    apply_commands(run)
    assert [checkpoint.step for checkpoint in events(run, Checkpoint)] == [0]
    assert (run.context.folder.checkpoints / "last" / "model.safetensors").exists()


EXPLODING = {"name": "sgd", "lr": 100.0, "clip_norm": 0.0, "backbone_lr_factor": 100.0}


def exploding(config: Callable[..., RunConfig], on_nan: str) -> RunConfig:
    return config(optimizer=EXPLODING, freeze={"rules": []}, schedule={"name": "constant"}, train={"on_nan": on_nan})


def test_a_nonfinite_loss_stops_the_run_and_leaves_finite_weights(session: Sessions, config: Callable[..., RunConfig]):
    run = session(exploding(config, "stop"))
    with pytest.raises(TrainingFailed, match=r"at step \d+, first in .*; .* lower optimizer\.lr"):
        fit(run)
    assert all(torch.isfinite(p).all() for p in run.classifier.module.parameters())


def test_a_nonfinite_step_can_be_skipped(session: Sessions, config: Callable[..., RunConfig]):
    run = session(exploding(config, "skip"))
    fit(run)
    assert "step_skipped" in {warning.code for warning in events(run, Warning)}
    assert all(torch.isfinite(p).all() for p in run.classifier.module.parameters())


def test_too_many_rollbacks_end_the_run(session: Sessions, config: Callable[..., RunConfig]):
    run = session(exploding(config, "rollback"))
    run.config = with_setting(run.config, "train.epochs", 50)
    save_checkpoint(run, best=False)
    finish_checkpoints(run)
    with pytest.raises(TrainingFailed, match=r"lower optimizer\.lr"):
        fit(run)
    assert [warning.code for warning in events(run, Warning)].count("rolled_back") >= 3
    assert all(torch.isfinite(p).all() for p in run.classifier.module.parameters())


def test_a_rollback_restores_the_last_checkpoint(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config())
    fit(run)
    saved = {name: tensor.clone() for name, tensor in run.classifier.module.state_dict().items()}
    run.config = with_setting(run.config, "train.epochs", 3)
    with torch.no_grad():
        for parameter in run.freezing.trainable.values():
            parameter.fill_(math.nan)
    assert roll_back(run)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in run.classifier.module.state_dict().items())
    fit(run)
    assert run.epoch == 3


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(InputError, match="fp16"):
        choose_precision("fp16", torch.device("cpu"), quiet)


def test_bf16_trains_on_a_cpu(engine: Engine, config: Callable[..., RunConfig]):
    _, state, status = engine.run(config(train={"precision": "bf16"}, freeze={"rules": []}))
    assert status == 0
    assert all(math.isfinite(step.loss) for step in state.steps.recent)


@pytest.mark.gpu
def test_training_runs_on_cuda(engine: Engine, config: Callable[..., RunConfig]):
    _, state, status = engine.run(config(train={"device": "cuda"}, freeze={"rules": []}))
    assert status == 0
    assert state.started is not None
    assert state.started.device == "cuda:0"
