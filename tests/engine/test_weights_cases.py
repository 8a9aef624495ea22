"""Weights files as people have them: wrapped, prefixed, of other channels, sizes and classes, or of an earlier run."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.config.schema import HeadConfig, RunConfig
from engine.errors import InputError
from engine.models import registry
from engine.models.layer_tree import describe
from engine.models.weight_files import read_state_dicts
from engine.models.weight_source import find_weights
from engine.models.weights import check_frozen_layers, load_weights
from engine.runs.progress import quiet
from engine.runs.start_weights import with_run_path
from tests.conftest import Engine, make_images

MODEL = "timm/test_resnet"
CLASSES = ["ant", "bee", "cat"]
HEAD_ONLY = ["freeze *", "train head"]
STEM = "conv1.0.weight"

State = dict[str, torch.Tensor]
Configs = Callable[..., RunConfig]


def build(model: str = MODEL, image_size: int = 0, classes: int = len(CLASSES)) -> registry.Classifier:
    return registry.build(model, classes, HeadConfig(), image_size)


def state_of(model: str = MODEL, *, head: bool = False) -> State:
    classifier = build(model, classes=5)
    state = classifier.module.state_dict()
    return {key: tensor for key, tensor in state.items() if head or not key.startswith(f"{classifier.head[0]}.")}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


def saved(path: Path, content: object) -> str:
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "_orig_mod.", "net.encoder._orig_mod."])
def test_a_common_prefix_is_stripped(prefix: str, tmp_path: Path):
    state = state_of()
    classifier = build()
    path = saved(tmp_path / "weights.pth", prefixed(prefix, state))
    report = load_weights(classifier, path, quiet)
    assert (report.prefix, report.missing, report.unexpected) == (prefix, [], [])
    assert torch.equal(classifier.module.state_dict()[STEM], state[STEM])
    check_frozen_layers(classifier, report, HEAD_ONLY)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "network", "model_ema", "ema"])
def test_one_state_dict_in_a_wrapper_is_found(wrapper: str, tmp_path: Path):
    content = {wrapper: state_of(), "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
    assert load_weights(build(), saved(tmp_path / "x.pth", content), quiet).missing == []


def test_several_state_dicts_are_listed_and_can_be_chosen(tmp_path: Path):
    student, teacher = state_of(), {key: tensor * 2 for key, tensor in state_of().items()}
    content = {"student": prefixed("module.backbone.", student), "teacher": prefixed("backbone.", teacher)}
    path = saved(tmp_path / "distilled.pth", content)
    with pytest.raises(InputError, match=r'"student" .* "teacher" .*model\.weights = ".*#teacher"'):
        load_weights(build(), path, quiet)
    classifier = build()
    assert load_weights(classifier, f"{path}#teacher", quiet).state_dict == "teacher"
    assert torch.equal(classifier.module.state_dict()[STEM], teacher[STEM])
    with pytest.raises(InputError, match=r'no weights "pupil".*"student"'):
        load_weights(build(), f"{path}#pupil", quiet)


def test_several_prefixes_in_one_state_dict_can_be_chosen(tmp_path: Path):
    query, key = state_of(), {name: tensor + 1 for name, tensor in state_of().items()}
    path = saved(tmp_path / "x.ckpt", {"state_dict": prefixed("query.", query) | prefixed("key.", key)})
    with pytest.raises(InputError, match="several sets of weights"):
        load_weights(build(), path, quiet)
    classifier = build()
    report = load_weights(classifier, f"{path}#key", quiet)
    assert report.unexpected == []
    assert torch.equal(classifier.module.state_dict()[STEM], key[STEM])


@pytest.mark.parametrize("name", ["state_dict_ema", "model_ema", "ema_model", "ema"])
def test_a_moving_average_is_preferred_and_named(name: str, tmp_path: Path):
    averaged = {key: tensor * 3 for key, tensor in state_of().items()}
    classifier = build()
    report = load_weights(classifier, saved(tmp_path / "x.pth", {"state_dict": state_of(), name: averaged}), quiet)
    assert report.state_dict == name
    assert torch.equal(classifier.module.state_dict()[STEM], averaged[STEM])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_converted(dtype: torch.dtype, tmp_path: Path):
    state = {key: t.to(dtype) if t.is_floating_point() else t for key, t in state_of().items()}
    save_file(state, tmp_path / "x.safetensors")
    classifier = build()
    report = load_weights(classifier, str(tmp_path / "x.safetensors"), quiet)
    assert report.converted == [str(dtype).removeprefix("torch.")]
    assert torch.equal(classifier.module.state_dict()[STEM], state[STEM].float())


def test_a_prefixed_backbone_with_a_new_head_beside_it_is_loaded(tmp_path: Path):
    head = {"fc.weight": torch.randn_like(build().module.state_dict()["fc.weight"]), "fc.bias": torch.randn(3)}
    path = saved(tmp_path / "x.pth", prefixed("features.", state_of()) | head)
    classifier = build()
    report = load_weights(classifier, path, quiet)
    assert (report.missing, report.unexpected, report.head_classes) == ([], [], 3)
    assert torch.equal(classifier.module.state_dict()["fc.weight"], head["fc.weight"])


def test_a_head_of_another_size_stays_new_and_is_no_misfit(tmp_path: Path):
    report = load_weights(build(), saved(tmp_path / "x.pth", state_of(head=True)), quiet)
    assert (report.missing, report.unexpected, report.mismatched, report.head_classes) == ([], [], [], 0)


def test_a_frozen_layer_that_would_stay_random_is_an_error_with_its_name(tmp_path: Path):
    state = {key: tensor for key, tensor in state_of().items() if not key.startswith("layer3.0.conv2")}
    classifier = build()
    report = load_weights(classifier, saved(tmp_path / "x.pth", state), quiet)
    with pytest.raises(InputError, match=r"would stay random: layer3\.0\.conv2;.*model\.weights = \"none\""):
        check_frozen_layers(classifier, report, HEAD_ONLY)
    check_frozen_layers(classifier, report, [*HEAD_ONLY, "train layer3"])


def test_frozen_batch_statistics_that_are_missing_are_an_error(tmp_path: Path):
    state = {key: tensor for key, tensor in state_of().items() if not key.endswith("running_var")}
    classifier = build()
    report = load_weights(classifier, saved(tmp_path / "x.pth", state), quiet)
    with pytest.raises(InputError, match=r"would stay random: conv1\.1, conv1\.4, bn1,"):
        check_frozen_layers(classifier, report, HEAD_ONLY)
    check_frozen_layers(classifier, report, ["train *"])


def test_weights_of_a_deeper_network_are_an_error_where_layers_are_frozen(tmp_path: Path):
    classifier = build("resnet18")
    path = saved(tmp_path / "x.pth", registry.build("resnet34", 9, HeadConfig()).module.state_dict())
    report = load_weights(classifier, path, quiet)
    with pytest.raises(InputError, match=r"a deeper network than resnet18, with the layers layer1\.2\.conv1"):
        check_frozen_layers(classifier, report, HEAD_ONLY)
    check_frozen_layers(classifier, report, ["train *"])


def test_extra_heads_of_a_file_are_no_deeper_network(tmp_path: Path):
    extra = {"projector.0.weight": torch.ones(3, 3), "projector.2.weight": torch.ones(3, 3)}
    classifier = build()
    report = load_weights(classifier, saved(tmp_path / "x.pth", state_of() | extra), quiet)
    check_frozen_layers(classifier, report, HEAD_ONLY)
    assert report.unexpected == list(extra)


@pytest.mark.parametrize("channels", [1, 2, 4, 12])
def test_a_first_convolution_of_other_channels_is_adapted(channels: int, tmp_path: Path):
    """An image with equal channels has the activations that it has in the file's network."""
    state = state_of()
    kernels, _, *sides = state[STEM].shape
    stem = torch.randn(kernels, channels, *sides)
    classifier = build()
    report = load_weights(classifier, saved(tmp_path / "x.pth", state | {STEM: stem}), quiet)
    assert (report.adapted, report.mismatched, report.missing) == ([STEM], [], [])
    gray = torch.randn(1, 1, 16, 16)
    adapted = classifier.module.state_dict()[STEM]
    if channels <= 3 and 3 % channels == 0:
        theirs = torch.nn.functional.conv2d(gray.expand(-1, channels, -1, -1), stem)
        torch.testing.assert_close(torch.nn.functional.conv2d(gray.expand(-1, 3, -1, -1), adapted), theirs)
    else:
        torch.testing.assert_close(adapted, stem.repeat(1, 3, 1, 1)[:, :3] * channels / 3)


def test_position_embeddings_of_timm_are_resampled(tmp_path: Path):
    path = saved(tmp_path / "vit.pth", state_of("timm/test_vit"))
    classifier = build("timm/test_vit", image_size=96)
    report = load_weights(classifier, path, quiet)
    assert (report.resampled, report.missing) == (["pos_embed"], [])
    check_frozen_layers(classifier, report, HEAD_ONLY)


def test_position_embeddings_of_torchvision_are_resampled(tmp_path: Path):
    path = saved(tmp_path / "vit.pth", state_of("vit_b_32"))
    report = load_weights(build("vit_b_32", image_size=96), path, quiet)
    assert (report.resampled, report.missing) == (["encoder.pos_embedding"], [])


def test_relative_position_bias_tables_of_swin_are_resampled(tmp_path: Path):
    name = "timm/swin_tiny_patch4_window7_224"
    report = load_weights(build(name, image_size=96), saved(tmp_path / "swin.pth", state_of(name)), quiet)
    assert len(report.resampled) == 8
    assert all(key.endswith("relative_position_bias_table") for key in report.resampled)
    assert (report.missing, report.mismatched) == ([], [])


def test_a_file_with_more_than_tensors_is_refused_with_the_line_that_converts_it(tmp_path: Path):
    content: dict[str, Any] = {"state_dict": state_of(), "args": argparse.Namespace(lr=0.1)}
    path = tmp_path / "it's mine.pth"
    with pytest.raises(InputError, match="could run code; if you trust it, convert it with: python -c ") as caught:
        load_weights(build(), saved(path, content), quiet)
    line = str(caught.value).partition("convert it with: ")[2]
    command = shlex.split(line)
    assert command[0] == "python"
    subprocess.run([sys.executable, *command[1:]], check=True)
    assert read_state_dicts(tmp_path / "it's mine-weights.pth")[""].keys() == state_of().keys()


def exported(path: Path, state: State, classes: list[str]) -> str:
    """A file as `tltui export --format safetensors` writes it."""
    save_file(state, path, {"tltui": json.dumps({"classes": classes})})
    return str(path)


def test_head_rows_are_matched_by_class_name(tmp_path: Path):
    theirs = ["cat", "dog", "ant", "emu", "fox"]
    state = state_of(head=True)
    classifier = build()
    classifier.classes = CLASSES
    initial = classifier.module.state_dict()["fc.weight"].clone()
    report = load_weights(classifier, exported(tmp_path / "x.safetensors", state, theirs), quiet)
    weight = classifier.module.state_dict()["fc.weight"]
    assert report.head_classes == 2
    assert torch.equal(weight[CLASSES.index("ant")], state["fc.weight"][theirs.index("ant")])
    assert torch.equal(weight[CLASSES.index("cat")], state["fc.weight"][theirs.index("cat")])
    assert torch.equal(weight[CLASSES.index("bee")], initial[CLASSES.index("bee")])


def test_a_head_of_other_classes_stays_new_even_if_its_shape_fits(tmp_path: Path):
    classifier = build(classes=5)
    classifier.classes = ["p", "q", "r", "s", "t"]
    initial = classifier.module.state_dict()["fc.weight"].clone()
    path = exported(tmp_path / "x.safetensors", state_of(head=True), ["v", "w", "x", "y", "z"])
    assert load_weights(classifier, path, quiet).head_classes == 0
    assert torch.equal(classifier.module.state_dict()["fc.weight"], initial)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("run:3f", r'"3f" means 2 runs: 3fa2-digits, 3fbb-digits; write more of it'),
        ("run:9", r'no run "9" .*`tltui runs` lists them'),
        ("run:", r'no run ""'),
        ("run:3fa2@first", '"@first" is no checkpoint; write @best, @last or @EPOCH'),
    ],
)
def test_an_unclear_earlier_run_is_one_sentence(weights: str, says: str, tmp_path: Path):
    for name in ("3fa2-digits", "3fbb-digits"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.toml").touch()
    with pytest.raises(InputError, match=says):
        with_run_path(weights, tmp_path)


def test_an_earlier_run_becomes_its_path_in_the_new_runs_settings(tmp_path: Path):
    run = tmp_path / "3fa2-digits"
    run.mkdir()
    (run / "run.toml").touch()
    assert with_run_path("run:3f", tmp_path) == f"run:{run}@best"
    assert with_run_path("run:3fa2-digits@last", tmp_path) == f"run:{run}@last"
    assert with_run_path(f"run:{run}@last", tmp_path / "elsewhere") == f"run:{run}@last"
    assert with_run_path("run:3fa2@12", tmp_path) == f"run:{run}@12"
    for other in ("default", "none", "weights.pth#teacher"):
        assert with_run_path(other, tmp_path) == other


@pytest.mark.parametrize(
    ("model", "size"), [("vit_b_16", 100), ("inception_v3", 64), ("densenet121", 28), ("maxvit_t", 100)]
)
def test_an_image_size_that_a_network_cannot_take_is_one_sentence(model: str, size: int):
    with pytest.raises(InputError, match=rf"{model} can't take images of {size} px .*change data\.image_size"):
        describe(model, 3, size, HeadConfig())


def test_an_earlier_run_is_found_by_id_folder_and_checkpoint(engine: Engine, config: Configs, tmp_path: Path):
    first, _, status = engine.run(config(train={"epochs": 1}))
    assert status == 0
    for weights in (first.path, first.checkpoints / "last" / "model.safetensors"):
        classifier = build(image_size=32)
        classifier.classes = ["blue", "red", "yellow"]
        report = load_weights(classifier, str(weights), quiet)
        assert (report.missing, report.head_classes) == ([], 2)

    (epoch,) = first.checkpoints.glob("step-*")
    weights = with_run_path(f"run:{first.id}@1", first.path.parent)
    assert find_weights(weights).path == epoch / "model.safetensors"
    with pytest.raises(InputError, match=r"keeps no checkpoint of epoch 7; it keeps those of epochs: 1; write one"):
        find_weights(with_run_path(f"run:{first.id}@7", first.path.parent))

    more = make_images(tmp_path / "more", per_class=8, names=("green", "blue"))
    weights = {"weights": f"run:{first.id[:4]}"}
    second, state, status = engine.run(config(data={"path": str(more)}, model=weights, train={"epochs": 1}))
    assert status == 0, second.log.read_text()
    assert second.load_config().model.weights == f"run:{first.path}@best"
    assert state.model is not None
    assert (state.model.weights.missing, state.model.weights.head_classes) == ([], 2)


def test_weights_are_refused_before_images_are_read(engine: Engine, config: Configs, tmp_path: Path):
    state = {key: tensor for key, tensor in state_of().items() if not key.startswith("layer2")}
    run, ended, status = engine.run(config(model={"weights": saved(tmp_path / "x.pth", state)}))
    assert status == 2
    assert ended.data is None
    assert "frozen layers would stay random: layer2" in run.log.read_text() + str(ended.finished)
