"""Stage features are means over positions, wherever a network keeps its channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.config.schema import HeadConfig, RunConfig
from engine.experiments.linear_probe.probe import pooled, run_linear_probe
from engine.models import registry
from engine.models.freezing import Freezing
from engine.models.layer_tree import stages
from engine.models.registry import Classifier
from engine.models.split import split
from engine.models.stage_features import HEAD_INPUT, Suffix, features, of_whole
from engine.runs.event_log import EventTail
from engine.runs.events import Forgetting
from engine.runs.progress import quiet
from engine.training.cka import gram, linear_cka
from engine.training.layer_stats import LayerStats
from engine.training.loop import fit
from tests.conftest import Sessions, make_images

# Network, image size, the stages whose maps are (N, H, W, C), and of some stages the numbers of channels.
CASES: dict[str, tuple[str, int, set[str] | None, dict[str, int]]] = {
    "timm's Swin": ("timm/swin_tiny_patch4_window7_224", 64, None, {"patch_embed": 96, "layers.3": 768}),
    # Here the first maps are 96 × 96 × 96, which alone does not tell where the channels are.
    "Swin at 384": ("timm/swin_tiny_patch4_window7_224", 384, None, {"patch_embed": 96, "layers.1": 192}),
    "torchvision's Swin": ("swin_t", 64, None, {"features.0": 96, "features.7": 768}),
    "MambaOut": ("timm/test_mambaout", 96, None, {"stem": 16, "stages.1": 32, "stages.3": 64}),
    "one stage of PVT": ("timm/pvt_v2_b0", 64, {"patch_embed"}, {"patch_embed": 32, "stages.0": 32, "stages.3": 256}),
    "channels first": ("timm/test_resnet", 64, set(), {"layer1": 32, "layer4": 96}),
}  # fmt: skip


def classifier_of(name: str, size: int) -> Classifier:
    torch.manual_seed(0)
    classifier = registry.build(name, 3, HeadConfig(), size)
    classifier.module.eval()
    return classifier


def random_images(count: int, size: int) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(size))


@contextmanager
def raw_outputs(classifier: Classifier) -> Iterator[dict[str, torch.Tensor]]:
    """What PyTorch's own hooks see of each stage."""
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        return lambda _layer, _inputs, output: found.update({name: output})

    known = [
        (name, [path for path in paths if not any(head.startswith(f"{path}.") for head in classifier.head)])
        for name, paths in stages(classifier.module, classifier.head)
    ]
    hooks = [
        classifier.module.get_submodule(paths[-1]).register_forward_hook(keep(name)) for name, paths in known if paths
    ]
    yield found
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("case", CASES)
def test_maps_are_averaged_over_positions(case: str):
    name, size, channels_last, channels = CASES[case]
    classifier, images = classifier_of(name, size), random_images(2, size)
    with torch.no_grad(), raw_outputs(classifier) as raw:
        outputs = of_whole(classifier, {}, images)
    del outputs[HEAD_INPUT]
    for stage, output in outputs.items():
        if output.ndim != 4:
            continue
        positions = (1, 2) if channels_last is None or stage in channels_last else (2, 3)
        expected = raw[stage].mean(positions)
        torch.testing.assert_close(pooled(output), expected)
        # On a coarse grid instead of on one place: the mean of the cells is that of the map where they are equal.
        side = output.shape[-1]
        if side <= 4 or side % 4 == 0:
            torch.testing.assert_close(features(output).unflatten(1, (expected.shape[1], -1)).mean(-1), expected)
    assert {stage: pooled(outputs[stage]).shape[1] for stage in channels} == channels


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/deit_tiny_distilled_patch16_224", "vit_b_32"])
def test_tokens_are_averaged_with_the_class_token(name: str):
    classifier = classifier_of(name, 0)
    with torch.no_grad(), raw_outputs(classifier) as raw:
        outputs = of_whole(classifier, {}, random_images(2, classifier.preprocessing.image_size))
    tokens = {stage: output for stage, output in outputs.items() if output.ndim == 3}
    assert len(tokens) >= 6
    for stage, output in tokens.items():
        assert pooled(output).shape == (2, raw[stage].shape[2])
        torch.testing.assert_close(pooled(output), raw[stage].mean(1))
        torch.testing.assert_close(features(output), raw[stage].mean(1))


@pytest.mark.parametrize(
    ("name", "size", "rules"),
    [
        ("timm/test_mambaout", 96, ["freeze *", "train stages.3", "train head"]),
        ("swin_t", 64, ["freeze *", "train features.7", "train norm", "train head"]),
        ("convnext_tiny", 64, ["freeze *", "train features.7", "train classifier", "train head"]),
        # Behind the cut lies only what is 96 × 96 × 96.
        ("timm/swin_tiny_patch4_window7_224", 384, ["freeze *", "train layers.0", "train head"]),
    ],
)
def test_stages_behind_a_cut_have_the_axes_of_the_whole_network(name: str, size: int, rules: list[str]):
    classifier, images = classifier_of(name, size), random_images(1, size)
    freezing = Freezing(classifier.module, classifier.head, "follow")
    freezing.apply(rules)
    with torch.no_grad():  # the blocks of ConvNeXt begin as identities
        for parameter in (p for path, p in classifier.module.named_parameters() if path.endswith("layer_scale")):
            parameter.fill_(1.0)
    found = split(classifier, freezing)
    classifier.module.eval()
    with torch.no_grad():
        whole = of_whole(classifier, {}, images)
        behind = Suffix(found, classifier)(found.prefix(images))
    maps = {stage for stage, output in behind.items() if output.ndim == 4}
    assert maps
    for stage in maps:
        torch.testing.assert_close(pooled(behind[stage]), pooled(whole[stage]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "stage"), [("convnext_tiny", "features.7"), ("timm/davit_tiny", "stages.3")])
def test_the_last_stage_is_what_lies_before_the_classifier(name: str, stage: str):
    """Also where a normalization of the stage and the classifier share a module."""
    classifier = classifier_of(name, 64)
    with torch.no_grad():
        outputs = of_whole(classifier, {}, random_images(2, 64))
    assert outputs[stage].ndim == 4
    assert outputs[stage].shape[1] == outputs[HEAD_INPUT].shape[1] > 3


def test_forgetting_compares_channels_of_networks_that_have_them_last(
    session: Sessions, config: Callable[..., RunConfig], tmp_path: Path
):
    model = "timm/test_mambaout"
    torch.manual_seed(0)
    torch.save(registry.architecture(model).build(64).state_dict(), tmp_path / "weights.pt")
    run = session(
        config(
            data={"path": str(make_images(tmp_path / "images", 16)), "image_size": 64},
            model={"name": model, "weights": str(tmp_path / "weights.pt")},
            freeze={"rules": ["freeze *", "train stages.3", "train head"]},
            optimizer={"lr": 0.01, "backbone_lr_factor": 1.0},
            train={"epochs": 1},
        )
    )
    members = run.data.splits["val"]
    run.classifier.module.eval()

    def maps() -> torch.Tensor:
        with torch.no_grad(), raw_outputs(run.classifier) as raw:
            for images in run.loader.eval_images(members, 64):
                run.classifier.module(images)
        return raw["stages.3"].flatten(1)  # 2 × 2 places: each is a cell of its own

    before = maps()
    fit(run)
    run.classifier.module.eval()
    (event,) = [event for event in EventTail(run.context.folder).poll() if isinstance(event, Forgetting)]
    expected = linear_cka(gram(before), gram(maps()))
    assert expected is not None
    assert expected < 0.999
    assert event.cka["stages.3"] == pytest.approx(expected, abs=1e-4)


def test_probes_see_as_many_features_as_a_stage_has_channels(config: Callable[..., RunConfig]):
    wanted = config(data={"image_size": 96})
    backbone = run_linear_probe(wanted, ["timm/test_mambaout"], quiet, lambda _code, _message: None).backbones[0]
    found = {stage.name: stage.features for stage in backbone.stages}
    assert {name: found[name] for name in ("stem", "stages.1", "stages.3")} == {
        "stem": 16,
        "stages.1": 32,
        "stages.3": 64,
    }


def test_dead_units_of_maps_with_channels_last_are_channels(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config())
    layer = nn.ReLU()
    run.classifier.module.add_module("rectifier", layer)
    maps = torch.full((2, 5, 5, 8), -1.0)
    maps[..., 3] = 1.0
    look = LayerStats(run)
    look.before_update()
    with look.record_activations():
        layer(maps)
    event = look.to_event(1, 1, look.after_update(1).tolist())
    assert event
    assert (event.dead["rectifier"].dead, event.dead["rectifier"].units) == (7, 8)
