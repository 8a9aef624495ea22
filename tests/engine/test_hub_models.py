"""Networks from a repository of the Hugging Face Hub or a folder, read without a network connection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from timm.models import save_for_hf

from engine.config.schema import HeadConfig
from engine.config.toml_io import load
from engine.errors import InputError
from engine.models import registry
from engine.models.catalogue import models_like
from engine.models.layer_tree import describe
from engine.models.weights import load_weights
from engine.runs.progress import quiet

REVISION = "0123456789abcdef0123456789abcdef01234567"
HUB_NAME = "hf-hub:me/tiny.mine"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with arguments of its own, as timm saves it."""
    path = tmp_path_factory.mktemp("hub") / "tiny"
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_resnet", num_classes=7), str(path), safe_serialization=True)
    config = json.loads((path / "config.json").read_text())
    config["model_args"] = {"drop_rate": 0.25}
    config["pretrained_cfg"] |= {"mean": [0.1, 0.2, 0.3], "input_size": [3, 48, 48]}
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.fixture
def hub(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder as huggingface_hub lays it out, and no network connection."""
    repository = tmp_path / "cache" / "models--me--tiny.mine"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).symlink_to(folder / name)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return repository


@pytest.mark.parametrize("place", ["hub", "revision", "folder"])
def test_a_network_is_built_with_its_arguments_statistics_and_weights(place: str, hub: Path, folder: Path):
    name = {"hub": HUB_NAME, "revision": f"{HUB_NAME}@{REVISION}", "folder": f"local-dir:{folder}"}[place]
    classifier = registry.build(name, 3, HeadConfig())
    assert classifier.preprocessing.mean == (0.1, 0.2, 0.3)
    assert classifier.preprocessing.image_size == 48
    report = load_weights(classifier, "default", quiet)
    saved = load_file(folder / "model.safetensors")
    assert (report.missing, report.unexpected, report.mismatched) == ([], [], [])
    assert torch.equal(classifier.module.state_dict()["conv1.0.weight"], saved["conv1.0.weight"])
    assert torch.equal(classifier.original_head["weight"], saved["fc.weight"])
    assert classifier.module.drop_rate == 0.25
    assert describe(name, 3, 0, HeadConfig()).head == ["fc"]
    (entry,) = models_like(name)
    assert (entry.name, entry.image_size, entry.weights) == (name, 48, "here")


def test_what_is_not_in_the_cache_is_one_sentence_with_what_to_copy_where(hub: Path):
    with pytest.raises(InputError, match=r"config\.json is not on this machine") as caught:
        registry.build("hf-hub:me/other", 3, HeadConfig())
    said = str(caught.value)
    assert "`hf download me/other`" in said
    assert str(hub.parent / "models--me--other") in said
    assert 'model.name = "local-dir:FOLDER"' in said
    assert "\n" not in said
    (hub / "snapshots" / REVISION / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is not on this machine"):
        load_weights(registry.build(HUB_NAME, 3, HeadConfig()), "default", quiet)


@pytest.mark.parametrize(
    "content",
    [
        '{"architecture": "no_network_of_timm"}',
        '{"architectures": ["ViT"]}',
        '{"architecture": 5, "pretrained_cfg": {}}',
        "[]",
        "{",
        '{"architecture": "test_resnet", "pretrained_cfg": {"mean": 1, "input_size": []}}',
        '{"architecture": "test_resnet", "pretrained_cfg": {}, "model_args": {"colour": 1}}',
    ],
)
def test_a_config_that_is_not_of_timm_is_refused(content: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r'^model\.name = "local-dir:.*config\.json'):
        registry.build(f"local-dir:{tmp_path}", 3, HeadConfig())


def test_a_folder_is_relative_to_the_file_that_names_it_and_an_export_needs_none(folder: Path, tmp_path: Path):
    (tmp_path / "run.toml").write_text('[data]\nsource = "digits"\n[model]\nname = "local-dir:nets/tiny"\n')
    assert load(tmp_path / "run.toml").model.name == f"local-dir:{tmp_path}/nets/tiny"
    name, arguments = registry.portable_name(f"local-dir:{folder}")
    assert (name, arguments) == ("timm/test_resnet", {"drop_rate": 0.25})
    assert registry.build(name, 3, HeadConfig(), arguments=arguments).module.drop_rate == 0.25


def test_arguments_that_would_load_a_file_are_left_out(folder: Path, tmp_path: Path):
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] |= {"checkpoint_path": str(tmp_path / "weights.pth"), "pretrained_cfg": {"file": "x"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert registry.portable_name(f"local-dir:{tmp_path}")[1] == {"drop_rate": 0.25}
    assert registry.build(f"local-dir:{tmp_path}", 3, HeadConfig()).module.drop_rate == 0.25
