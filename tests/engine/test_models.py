"""Networks by name: heads, sizes, trees, weights."""

from __future__ import annotations

import hashlib
import http.server
import os
import pickle
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models._api import Weights

from engine.config.freeze_rules import decide
from engine.config.schema import HeadConfig
from engine.errors import InputError
from engine.models import pip_source, registry, torchvision_source
from engine.models.layer_tree import describe, layer_tree, stages
from engine.models.weight_files import read_state_dicts
from engine.models.weights import load_weights
from engine.runs.progress import quiet

CLASSES = 7
TIMM = """
    resnet18 resnetv2_50 vit_tiny_patch16_224 deit_tiny_distilled_patch16_224 swin_tiny_patch4_window7_224 convnext_atto
    mobilenetv3_small_050 efficientnet_b0 densenet121 vgg11 inception_v3 levit_128s mixer_s32_224 coatnet_nano_rw_224
    xcit_nano_12_p16_224 crossvit_tiny_240 beit_base_patch16_224 fastvit_t8 regnety_002 repvit_m0_9 dla34 nfnet_f0
    vit_small_patch14_dinov2 eva02_tiny_patch14_224 vit_base_r50_s16_224
""".split()
NO_NETWORK = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without downloads and without weights."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, NO_NETWORK)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("urllib.request._opener", None)  # it remembers the proxies of its first use
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "torch" / "hub" / "checkpoints"


def on_meta(name: str, *, hidden: list[int] | None = None, size: int = 0) -> registry.Classifier:
    classifier = registry.build(name, CLASSES, HeadConfig(hidden=hidden or []), size, on_meta=True)
    registry.check_image_size(classifier)
    return classifier


@pytest.mark.parametrize("name", [*torchvision_source.names(), pip_source.NAME, *(f"timm/{name}" for name in TIMM)])
def test_every_network_gets_the_right_head_tree_and_plan(name: str):
    classifier = on_meta(name)
    tree = layer_tree(classifier, CLASSES)
    assert tree.layers[0].output == [1, CLASSES]

    parameters = dict(classifier.module.named_parameters())
    in_tree = [name for layer in tree.layers for name in layer.parameter_sizes]
    assert sorted(in_tree) == sorted(parameters)
    assert tree.parameters == sum(parameter.numel() for parameter in parameters.values())

    decisions = decide(["freeze *", "train head"], tree)
    new = {f"{path}.{key}" for path in classifier.head for key in ("weight", "bias")} & set(parameters)
    assert {name for name in parameters if decisions[name].trainable} == new
    assert parameters[f"{classifier.head[0]}.weight"].shape[0] == CLASSES


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", ["fc"]),
        ("densenet121", ["classifier"]),
        ("vgg11", ["classifier.6"]),
        ("squeezenet1_1", ["classifier.1"]),
        ("vit_b_32", ["heads.head"]),
        ("swin_t", ["head"]),
        ("inception_v3", ["fc", "AuxLogits.fc"]),
        ("googlenet", ["fc", "aux1.fc2", "aux2.fc2"]),
    ],
)
def test_the_head_is_where_the_family_has_it(name: str, head: list[str]):
    assert on_meta(name).head == head


def test_the_heads_dropout_replaces_the_familys_and_hidden_layers_come_before_the_last():
    vgg = registry.build("vgg11", CLASSES, HeadConfig(dropout=0.3), on_meta=True).module
    assert vgg.get_submodule("classifier.6").dropout == 0.3
    assert vgg.get_submodule("classifier.5").p == 0.0
    assert vgg.get_submodule("classifier.2").p == 0.5
    hidden = on_meta("resnet18", hidden=[64, 32]).module.get_submodule("fc")
    assert [tuple(p.shape) for name, p in hidden.named_parameters() if "weight" in name] == [
        (64, 512),
        (32, 64),
        (7, 32),
    ]
    assert layer_tree(on_meta("squeezenet1_1", hidden=[16]), CLASSES).layers[0].output == [1, CLASSES]


def test_dropout_of_the_head_acts_in_training_alone():
    head = registry.build("timm/test_resnet", CLASSES, HeadConfig(dropout=0.5)).module.get_submodule("fc")
    features = torch.ones(64, head.in_features)
    assert not torch.equal(head.train()(features), head(features))
    assert torch.equal(head.eval()(features), torch.nn.functional.linear(features, head.weight, head.bias))


def test_trained_weights_fit_the_plain_network():
    classifier = registry.build("resnet18", CLASSES, HeadConfig())
    plain = torchvision_source.models.resnet18(num_classes=CLASSES)
    plain.load_state_dict(classifier.module.state_dict())
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(plain.eval()(image), classifier.module.eval()(image))


def test_preprocessing_comes_from_the_weights():
    vit = registry.architecture("vit_h_14").preprocessing
    assert (vit.image_size, vit.resize_size, vit.interpolation) == (518, 518, "bicubic")
    lite = registry.architecture("efficientnet_lite0").preprocessing
    assert (lite.mean, lite.std, lite.image_size) == ((0.5,) * 3, (0.5,) * 3, 224)
    assert registry.architecture("inception_v3").preprocessing.image_size == 299
    assert registry.architecture("resnet50").preprocessing.at(112).resize_size == 116


def test_a_size_that_does_not_fit_is_refused_with_the_setting():
    with pytest.raises(InputError, match=r"alexnet can't take images of 16 px.*data\.image_size"):
        on_meta("alexnet", size=16)
    assert on_meta("vit_b_16", size=96).preprocessing.image_size == 96
    assert on_meta("timm/deit3_small_patch16_224", size=112).preprocessing.image_size == 112


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet5", "nearest: resnet50"),
        ("timm/resnet18x", "timm/resnet18"),
        ("vit_tiny_patch16_224", 'write "timm/vit_tiny_patch16_224"'),
        ("timm/resnet50.nobody", 'no weights "nobody"'),
    ],
)
def test_an_unknown_network_is_refused_with_the_nearest(name: str, says: str):
    with pytest.raises(InputError, match=says):
        registry.architecture(name)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("resnet50", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
        ("efficientnet_lite0", ["conv_stem", *(f"blocks.{i}" for i in range(7)), "conv_head"]),
        ("vit_b_32", ["conv_proj", *(f"encoder.layers.encoder_layer_{i}" for i in range(12))]),
        ("convnext_tiny", [f"features.{i}" for i in range(8)]),
        ("alexnet", [*(f"features.{i}" for i in (0, 3, 6, 8, 10)), "classifier.1", "classifier.4"]),
    ],
)  # fmt: skip
def test_stages_are_what_users_call_them(name: str, names: list[str]):
    classifier = on_meta(name)
    assert [stage for stage, _ in stages(classifier.module, classifier.head)] == names


def test_the_tree_knows_shapes_order_and_batch_statistics():
    layers = {layer.path: layer for layer in describe("resnet18", CLASSES, 0, HeadConfig()).layers}
    assert layers["layer4"].output == [1, 512, 7, 7]
    assert layers["conv1"].order < layers["layer1.0.conv1"].order < layers["fc"].order
    assert layers["bn1"].batch_statistics
    assert not layers["conv1"].batch_statistics
    assert layers["bn1"].buffers == {"running_mean": [64], "running_var": [64], "num_batches_tracked": []}
    assert layers["layer1"].own == 0


def test_the_pip_packages_weights_make_the_network_that_they_were_trained_for():
    classifier = registry.build(pip_source.NAME, CLASSES, HeadConfig())
    report = load_weights(classifier, "default", quiet)
    assert (report.missing, report.unexpected, report.mismatched) == ([], [], [])
    theirs = torch.load(report.source, weights_only=True)
    assert torch.equal(classifier.module.get_submodule("conv_stem").weight, theirs["_conv_stem.weight"])
    assert torch.equal(classifier.module.get_submodule("bn2").running_var, theirs["_bn1.running_var"])


def test_default_weights_on_disk_are_used_without_a_network(offline: Path):
    offline.mkdir(parents=True)
    original = torchvision_source.models.squeezenet1_1()
    torch.save(original.state_dict(), offline / "squeezenet1_1-b8a52dc0.pth")
    classifier = registry.build("squeezenet1_1", CLASSES, HeadConfig())
    report = load_weights(classifier, "default", quiet)
    assert (report.missing, report.unexpected, report.mismatched) == ([], [], [])
    assert torch.equal(classifier.module.get_submodule("features.0").weight, original.features[0].weight)


def test_position_embeddings_follow_the_size(offline: Path):
    offline.mkdir(parents=True)
    torch.save(torchvision_source.models.vit_b_32().state_dict(), offline / "vit_b_32-d86f8d99.pth")
    classifier = registry.build("vit_b_32", CLASSES, HeadConfig(), 96)
    assert load_weights(classifier, "default", quiet).mismatched == []


@pytest.mark.parametrize(
    ("name", "file"), [("resnet18", "resnet18-f37072fd.pth"), ("timm/resnet10t", "timm/resnet10t.c3_in1k")]
)
def test_without_a_network_one_sentence_names_the_file_wanted(name: str, file: str, offline: Path):
    with pytest.raises(InputError) as caught:
        load_weights(registry.build(name, CLASSES, HeadConfig()), "default", quiet)
    sentence = str(caught.value)
    assert file in sentence
    assert "model.weights" in sentence
    assert "\n" not in sentence


def test_a_download_is_checked_kept_and_shows_progress(offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The real loading code against a server on this machine."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name)
    served = tmp_path / "served"
    served.mkdir()
    torch.save(torchvision_source.models.squeezenet1_1().state_dict(), served / "plain")
    digest = hashlib.sha256((served / "plain").read_bytes()).hexdigest()[:8]
    (served / "plain").rename(served / f"net-{digest}.pth")
    (served / "net-00000000.pth").write_bytes(b"damaged on the way")

    def handler(*args: object) -> http.server.SimpleHTTPRequestHandler:
        return http.server.SimpleHTTPRequestHandler(*args, directory=str(served))  # type: ignore[arg-type]

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def weights(file: str) -> Weights:
        return Weights(url=f"http://127.0.0.1:{server.server_port}/{file}", transforms=quiet, meta={"_file_size": 4.7})

    try:
        state = torchvision_source.load_file("squeezenet1_1", weights(f"net-{digest}.pth"), 224, quiet)  # type: ignore[arg-type]
        assert len(state) == 52
        assert [path.name for path in offline.iterdir()] == [f"net-{digest}.pth"]
        with pytest.raises(InputError, match="invalid hash"):
            torchvision_source.load_file("squeezenet1_1", weights("net-00000000.pth"), 224, quiet)  # type: ignore[arg-type]
        assert [path.name for path in offline.iterdir()] == [f"net-{digest}.pth"]
    finally:
        server.shutdown()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_local_file_is_loaded_with_a_report_of_what_did_not_fit(suffix: str, tmp_path: Path):
    state = registry.build("timm/test_resnet", 3, HeadConfig()).module.state_dict()
    del state["bn1.weight"]
    state["stranger"] = torch.ones(1)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"epoch": 3, "state_dict": {f"module.{key}": tensor for key, tensor in state.items()}}, path)
    else:
        save_file(state, path)
    classifier = registry.build("timm/test_resnet", CLASSES, HeadConfig())
    report = load_weights(classifier, str(path), quiet)
    assert report.missing == ["bn1.weight"]
    assert report.unexpected == ["stranger"]
    assert report.mismatched == []  # a new head of another size is expected
    assert report.head_classes == 0
    assert torch.equal(classifier.module.state_dict()["conv1.0.weight"], state["conv1.0.weight"])


class Bomb:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("exploded",)


def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.pth", "raw.pth"):
        with pytest.raises(InputError, match="could run code"):
            read_state_dicts(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.pth", b"", "not a weights file"),
        ("noise.safetensors", b"\x10" * 64, "not a weights file"),
        ("missing.pth", None, "no such weights file"),
    ],
)
def test_what_is_no_weights_file_is_one_sentence(name: str, content: bytes | None, says: str, tmp_path: Path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_state_dicts(tmp_path / name)


def test_weights_of_another_network_are_refused(tmp_path: Path):
    save_file({"some.weight": torch.ones(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="none of its 1 tensors fits timm/test_resnet"):
        load_weights(registry.build("timm/test_resnet", 3, HeadConfig()), str(tmp_path / "other.safetensors"), quiet)


@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/vit_base_r50_s16_224", pip_source.NAME])
def test_describing_a_network_draws_no_random_numbers(name: str):
    before = torch.get_rng_state()
    registry.build(name, CLASSES, HeadConfig(hidden=[4]), on_meta=True)
    assert torch.equal(torch.get_rng_state(), before)
