"""The frozen prefix runs once per image; the suffix trains on its features as in the uncut network."""

from __future__ import annotations

import copy
import hashlib
import os
import random
import subprocess
import sys

import pytest
import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional

from engine.models import registry
from engine.models.preprocessing import Preprocessing
from engine.models.split import NetworkSplit, bridge
from tests.engine.split_cases import PLANS, build, compare, images, plan, split_under

pytestmark = pytest.mark.usefixtures("one_thread")

HEAD_ONLY = ["freeze *", "train head"]
NETWORKS = [
    *(("resnet18", 64, kind) for kind in PLANS),
    *(("googlenet", 64, kind) for kind in PLANS),
    *(("efficientnet_lite0", 64, kind) for kind in PLANS),
    *(("timm/test_resnet", 64, kind) for kind in PLANS),
    *(("timm/deit_tiny_distilled_patch16_224", 32, kind) for kind in PLANS),
    ("densenet121", 32, "mixed"),
    ("inception_v3", 0, "last stage"),
    ("swin_t", 64, "last stage"),
    ("timm/vit_tiny_patch16_224", 32, "last stage"),
]


@pytest.mark.parametrize(("name", "size", "kind"), NETWORKS)
def test_the_parts_do_what_the_whole_network_does(name: str, size: int, kind: str):
    classifier = build(name, size)
    parts, freezing = split_under(classifier, plan(classifier, kind))
    assert (parts.kind, parts.why) == ("graph", "")
    assert compare(classifier, parts, freezing).worst < 1e-5


@pytest.mark.parametrize(
    ("name", "norm_stats"),
    [("resnet18", "follow"), ("densenet121", "frozen"), ("timm/deit_tiny_distilled_patch16_224", "follow")],
)
def test_any_plan_is_allowed(name: str, norm_stats: str):
    """Single parameters frozen and trained here and there, none of it in one piece."""
    classifier = build(name, 32)
    names = [path for path, _ in classifier.module.named_parameters()]
    chance = random.Random(3)
    start = names[: len(names) // 3]
    rules = ["freeze *", *(f"train {path}" for path in names if path not in start and chance.random() < 0.2)]
    parts, freezing = split_under(classifier, [*rules, "train head"], norm_stats)
    assert parts.kind == "graph"
    assert compare(classifier, parts, freezing).worst < 1e-5


def test_in_double_precision_next_to_nothing_differs():
    classifier = build("timm/vit_tiny_patch16_224", 32, torch.float64)
    parts, freezing = split_under(classifier, plan(classifier, "last stage"))
    assert compare(classifier, parts, freezing).worst < 1e-10


def test_with_only_the_head_to_train_an_image_is_a_few_features():
    parts, _ = split_under(build("resnet18", 64), HEAD_ONLY)
    assert [(tensor.name, tensor.shape) for tensor in parts.boundary] == [("avgpool", (512, 1, 1))]
    assert parts.label == "avgpool"
    assert [path for path, _ in parts.suffix_train.named_parameters()] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize(
    ("name", "rules", "label"),
    [
        ("resnet18", ["freeze *", "train layer4", "train head"], "layer3"),
        ("densenet121", HEAD_ONLY, "features"),
        ("timm/vit_tiny_patch16_224", HEAD_ONLY, "norm"),
        ("efficientnet_lite0", HEAD_ONLY, "global_pool.pool"),
        ("resnet18", ["train *"], "image"),
        ("resnet18", ["train *", "freeze layer1"], "image"),
    ],
)
def test_the_boundary_is_named_after_the_last_layer_of_the_prefix(name: str, rules: list[str], label: str):
    parts, _ = split_under(build(name, 32), rules)
    assert (parts.label, parts.why) == (label, "")


def test_frozen_layers_beside_trainable_ones_are_in_the_prefix_too():
    """Inception's branches run side by side: those that are frozen need not wait for those that train."""
    classifier = build("googlenet", 64)
    parts, freezing = split_under(classifier, ["freeze *", "train inception5b.branch1", "train head"])
    assert {"inception5b.branch2", "inception5b.branch3", "inception5b.branch4"} <= {t.name for t in parts.boundary}
    assert not any("branch2" in path for path, _ in parts.suffix_train.named_parameters())
    assert compare(classifier, parts, freezing).worst < 1e-5


def test_splitting_leaves_statistics_and_random_numbers_alone():
    classifier = build("resnet18", 64)
    before = {name: tensor.clone() for name, tensor in classifier.module.state_dict().items()}
    names = set(vars(classifier.module))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _, freezing = split_under(classifier, ["freeze *", "train layer4", "train head"])
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.module.state_dict().items())
    assert set(vars(classifier.module)) == names
    modes = {path: layer.training for path, layer in classifier.module.named_modules()}
    freezing.train_mode()
    assert modes == {path: layer.training for path, layer in classifier.module.named_modules()}


def test_a_step_on_the_suffix_is_a_step_of_the_network():
    classifier = build("timm/test_resnet", 32)
    parts, freezing = split_under(classifier, ["freeze *", "train layer4", "train head"])
    inputs = images(classifier)
    with torch.no_grad():
        features = parts.prefix(inputs)
    optimizer = torch.optim.SGD(freezing.trainable.values(), lr=0.1)
    parts.suffix_train(*features).square().sum().backward()
    optimizer.step()
    classifier.module.eval()
    with torch.no_grad():
        assert torch.equal(parts.suffix_eval(*features), classifier.module(inputs))


def test_a_folded_copy_in_half_precision_gives_nearly_the_same_rows():
    classifier = build("resnet18", 64)
    parts, _ = split_under(classifier, ["freeze *", "train layer4", "train head"])
    assert isinstance(parts.prefix, fx.GraphModule)
    classifier.module.eval()
    fast = fuse(copy.deepcopy(parts.prefix), inplace=True, no_trace=True).to(torch.bfloat16)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fast.modules() if list(layer.parameters()))
    with torch.inference_mode():
        (quick,) = fast(images(classifier).to(torch.bfloat16))
        (exact,) = parts.prefix(images(classifier))
    assert quick.dtype == torch.bfloat16
    assert (quick - exact).abs().max() < 0.05 * exact.abs().max()
    assert next(classifier.module.parameters()).dtype == torch.float32


PRINT_KEY = """
import hashlib, torch
from tests.engine.split_cases import build, split_under
parts, _ = split_under(build("timm/deit_tiny_distilled_patch16_224", 32), ["freeze *", "train blocks.11", "train head"])
for text in (parts.code, "\\n".join(parts.prefix_state)):
    print(hashlib.sha256(text.encode()).hexdigest())
"""


def test_the_key_of_a_prefix_is_the_same_in_another_process_and_after_another_split():
    printed = subprocess.run(
        [sys.executable, "-c", PRINT_KEY],
        env={**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    classifier = build("timm/deit_tiny_distilled_patch16_224", 32)
    split_under(classifier, HEAD_ONLY)
    parts, _ = split_under(classifier, ["freeze *", "train blocks.11", "train head"])
    names = "\n".join(parts.prefix_state)
    assert [hashlib.sha256(text.encode()).hexdigest() for text in (parts.code, names)] == printed


def test_the_key_of_a_prefix_knows_all_that_it_computes_with():
    classifier = build("resnet18", 64)
    state = classifier.module.state_dict()
    parts, _ = split_under(classifier, ["freeze *", "train layer4", "train head"])
    assert set(parts.prefix_state) == {name for name in state if not name.startswith(("layer4", "fc"))}
    assert all(torch.equal(tensor, state[name]) for name, tensor in parts.prefix_state.items())
    assert split_under(classifier, HEAD_ONLY)[0].code != parts.code
    classifier.module.bn1.eps = 0.1
    assert split_under(classifier, ["freeze *", "train layer4", "train head"])[0].code != parts.code


def test_features_of_a_shallower_boundary_lead_to_those_of_a_deeper_one():
    classifier = build("googlenet", 64)
    shallow, _ = split_under(classifier, ["freeze *", "train inception4b", "train head"])
    deep, _ = split_under(classifier, HEAD_ONLY)
    between = bridge(shallow, deep)
    assert between is not None
    inputs = images(classifier)
    with torch.no_grad():
        features = shallow.prefix(inputs)
        kept = [tensor.clone() for tensor in features]
        assert all(map(torch.equal, between(*features), deep.prefix(inputs)))
    assert all(map(torch.equal, features, kept))
    frozen_early = {path for path, _ in shallow.prefix.named_parameters()}
    assert not frozen_early & {path for path, _ in between.named_parameters()}


def test_features_of_a_deeper_boundary_do_not_lead_to_those_of_a_shallower_one():
    classifier = build("resnet18", 64)
    shallow, _ = split_under(classifier, ["freeze *", "train layer4", "train head"])
    deep, _ = split_under(classifier, HEAD_ONLY)
    assert bridge(deep, shallow) is None


def test_from_images_every_boundary_is_reached():
    classifier = build("resnet18", 64)
    nothing, _ = split_under(classifier, ["train *"])
    deep, _ = split_under(classifier, HEAD_ONLY)
    between = bridge(nothing, deep)
    assert between is not None
    with torch.no_grad():
        assert torch.equal(between(images(classifier))[0], deep.prefix(images(classifier))[0])


class Toy(nn.Module):
    """Three layers whose ``forward`` the cases below write anew, on images of 8 px."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)


def toy(module: nn.Module) -> registry.Classifier:
    torch.manual_seed(0)
    preprocessing = Preprocessing(8, 8, (0.0,) * 3, (1.0,) * 3, "bilinear")
    return registry.Classifier("toy", module, ["head"], 0.0, preprocessing)


def checked(module: nn.Module, rules: list[str]) -> NetworkSplit:
    """The split of a toy, after a comparison with the whole."""
    classifier = toy(module)
    parts, freezing = split_under(classifier, rules)
    assert compare(classifier, parts, freezing).worst < 1e-5
    return parts


TRAIN_SECOND = ["freeze *", "train second", "train head"]


class DecidesByImage(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.stack([self.second(self.first(image)) * float(image.std() > 0) for image in x])
        return self.head(x.mean((2, 3)))


class TwoHeadsInOne(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.stack([self.second(self.first(image)) * float(image.std() > 0) for image in x]).mean((2, 3))
        return self.head(x) + self.head(x.relu())


class LooksAtItsNeighbours(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.batch_norm(self.first(x), None, None, training=True)
        return self.head(self.second(x).mean((2, 3)))


def test_a_network_that_can_not_be_traced_is_cut_at_its_head():
    parts = checked(DecidesByImage(), HEAD_ONLY)
    assert (parts.kind, parts.label, parts.boundary[0].shape) == ("head", "input of head", (4,))
    assert "toy can't be cut in its graph" in parts.why
    assert "\n" not in parts.why
    assert set(parts.prefix_state) == {"first.weight", "first.bias", "second.weight", "second.bias"}


@pytest.mark.parametrize(
    ("module", "rules", "says"),
    [
        (DecidesByImage(), TRAIN_SECOND, "another layer than its classifier is trainable"),
        (TwoHeadsInOne(), HEAD_ONLY, "has no input with one entry per image"),
        (LooksAtItsNeighbours(), HEAD_ONLY, "depend on the other images"),
    ],
)
def test_what_can_not_be_cut_is_left_whole_with_the_reason(module: nn.Module, rules: list[str], says: str):
    parts = checked(module, rules)
    assert (parts.kind, parts.label) == ("none", "image")
    assert says in parts.why


class WritesInPlace(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y = x * 1.0
        y += self.second(x * 2.0)  # into what is stored, were it not copied
        z = y + x
        x.sin_()  # after something that trains has read it
        return self.head((x + z).mean((2, 3)))


class ReadsWhatATrainedLayerWrote(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y = x * 1.0
        seen = y.flatten(2)
        y += self.second(x)
        return self.head(functional.relu(seen).mean(2))  # frozen layers alone, but for what was written into it


class FoldsTheBatch(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        windows = x.view(n, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5).reshape(n * 4, c, h // 2, w // 2)
        return self.head(self.second(self.first(windows)).mean((2, 3)).view(n, 4, -1).sum(1))


class PutsTheBatchSecond(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.first(x).flatten(2).permute(2, 0, 1).contiguous()
        return self.head((tokens * self.second.bias).mean(0))


class PutsTheBatchLast(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        windows = self.first(x).unfold(2, 4, 4).flatten(3).permute(2, 0, 3, 1).contiguous()  # (rows, N, …)
        turned = windows.flatten(0, 1)  # the images of the first row, then those of the second
        mixed = (turned * self.second.bias).view(2, len(x), -1, 4)
        return self.head(mixed.mean((0, 2)))


class MakesAMask(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = self.first.bias.new_zeros((x.shape[0], 1, x.shape[2], 1), device=x.device)
        mask[:, :, 3:].fill_(1.0)
        return self.head((self.second(self.first(x) * mask) * mask).mean((2, 3)))


@pytest.mark.parametrize("module", [WritesInPlace(), FoldsTheBatch(), PutsTheBatchSecond()])
def test_writing_in_place_and_unusual_layouts_are_cut_right(module: nn.Module):
    parts = checked(module, TRAIN_SECOND)
    assert parts.kind == "graph"
    assert parts.prefix_state


@pytest.mark.parametrize("module", [PutsTheBatchLast(), ReadsWhatATrainedLayerWrote()])
def test_what_is_not_understood_is_no_wrong_answer(module: nn.Module):
    assert checked(module, TRAIN_SECOND).kind == "none"


def test_what_does_not_depend_on_the_images_is_made_anew():
    parts = checked(MakesAMask(), TRAIN_SECOND)
    assert [tensor.shape for tensor in parts.boundary] == [(4, 8, 8)]


class Expands(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.adaptive_avg_pool2d(self.first(x), 1)
        return self.head(self.second(x.expand(-1, -1, 4, 4)).mean((2, 3)))


def test_what_only_enlarges_the_boundary_is_left_to_the_suffix():
    parts = checked(Expands(), TRAIN_SECOND)
    assert parts.boundary[0].shape == (4, 1, 1)


class DropsOut(Toy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.dropout(self.first(x), 0.5, self.training)
        return self.head(self.second(x).mean((2, 3)))


def test_dropout_is_drawn_anew_in_every_epoch():
    parts = checked(DropsOut(), HEAD_ONLY)
    assert parts.label == "first"
    assert parts.suffix_train is not parts.suffix_eval
