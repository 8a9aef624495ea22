"""``tltui cache``: what is known of networks, this machine and files is listed and cleared like all else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.cache.file_digests import as_keys, digest
from engine.cache.folder import ARITHMETIC, CACHE, FITS, PROFILES, TREES, used
from engine.cache.space import CacheSpace
from engine.config.schema import HeadConfig, TrainConfig
from engine.costs import profile_cache
from engine.costs.loop_timing import LoopCosts
from engine.models import layer_tree_cache
from tests.tltui.test_command_line import CommandLine
from tests.ui.networks import network

TREE = network({f"layer{i}": {"weight": [3, 3]} for i in range(100)}, ["layer99"])
COSTS = LoopCosts(step=0.1, evaluation_step=0.1, epoch=1.0, memory=100)


@pytest.fixture
def root(tltui: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two layer trees, costs that were measured and a file's digest."""
    root = tmp_path / "cache"
    tltui.environment[CACHE] = str(root)
    monkeypatch.setenv(CACHE, str(root))
    for classes in (10, 20):
        layer_tree_cache.store(TREE, "resnet18", classes, 224, HeadConfig(), 3)
    profile_cache.store(profile_cache.loop(TrainConfig()), COSTS)
    (root / "digests").mkdir()
    (root / "digests" / "files").write_bytes(bytes(56))
    (root / ARITHMETIC).write_text("{}")
    (root / FITS).write_text("{}")
    return root


def test_what_is_known_is_listed_with_its_size(tltui: CommandLine, root: Path):
    listed = {one["kind"]: one for one in json.loads(tltui("cache", "--json").stdout)}
    assert set(listed) == {TREES, PROFILES, "arithmetic", "fits", "digests"}
    assert (listed[TREES]["rows"], listed[PROFILES]["rows"]) == (2, 1)
    for kind, one in listed.items():
        path = Path(one["path"])
        files = list(path.iterdir()) if path.is_dir() else [path]
        assert one["bytes"] == sum(file.stat().st_size for file in files) > 0, kind
        assert not one["in_use"]
    shown = tltui("cache").stdout
    assert all(words in shown for words in ("layer trees", "costs of networks", "arithmetic", "digests of files"))


def test_clearing_removes_what_is_known_and_not_what_is_in_use(tltui: CommandLine, root: Path):
    held = CacheSpace(root, "features", "ab" * 16, {"data": "photos"}, lambda code, _: pytest.fail(code), 2**30)
    held.append(as_keys([digest(b"one")]), [np.zeros(1000, np.uint8)])
    held.publish()
    before, staying = used(root), sum(path.stat().st_blocks * 512 for path in (root / "features").rglob("*.*"))
    freed = json.loads(tltui("cache", "clear", "--json").stdout)["freed"]
    assert before - staying - 4096 <= freed < before
    assert held.present(as_keys([digest(b"one")])).all()
    assert layer_tree_cache.load("resnet18", 10, 224, HeadConfig(), 3) is None
    assert profile_cache.load(profile_cache.loop(TrainConfig()), LoopCosts) is None
    assert not (root / ARITHMETIC).exists()
    held.close()
    tltui("cache", "clear")
    assert json.loads(tltui("cache", "--json").stdout) == []
    assert "nothing is cached" in tltui("cache").stdout
    layer_tree_cache.store(TREE, "resnet18", 10, 224, HeadConfig(), 3)
    assert layer_tree_cache.load("resnet18", 10, 224, HeadConfig(), 3) == TREE
