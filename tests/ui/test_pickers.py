"""Choosing a folder of images and a network."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest
from app_runs import images, refusing, until
from textual.app import App
from textual.widgets import Input

from engine.config.schema import DataConfig
from engine.data.selection import select_images
from engine.data.sources import open_source
from engine.data.splits import assign_splits
from engine.errors import InputError
from tests.conftest import make_images
from tltui.engine_client.queries import EngineQueries
from tltui.tables.dataset import balance_line
from tltui.widgets.folder_picker import FolderPicker, summary
from tltui.widgets.image_folder import ScanCancelled, expected_splits, scan
from tltui.widgets.model_picker import ModelPicker
from tltui.widgets.path_input import complete


def text_of(app: App) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def test_a_folder_tells_its_classes_and_how_many_images_each_has(tmp_path: Path):
    images(tmp_path, daisy=3, rose=2)
    (tmp_path / "rose" / "notes.txt").touch()
    (tmp_path / "rose" / ".hidden.png").touch()
    found = scan(tmp_path)
    assert found.counts == {"daisy": 3, "rose": 2}
    assert summary(found) == "2 classes, 5 images, no splits"


def test_a_folder_with_splits_of_its_own_is_counted_over_all_of_them(tmp_path: Path):
    images(tmp_path / "train", daisy=3, rose=2)
    images(tmp_path / "val", daisy=1, rose=1)
    found = scan(tmp_path)
    assert found.counts == {"daisy": 4, "rose": 3}
    assert found.splits == ("train", "val")


@pytest.mark.parametrize(("counts", "reason"), [({}, "no class folders"), ({"a": 0, "b": 0}, "no images found in a/"),
                                                ({"a": 2}, "One class only")])  # fmt: skip
def test_a_folder_that_can_not_be_trained_on_says_why(tmp_path: Path, counts: dict[str, int], reason: str):
    with pytest.raises(InputError, match=reason):
        scan(images(tmp_path, **counts))


def test_an_archive_and_a_table_tell_their_classes(tmp_path: Path):
    folder = images(tmp_path / "images", daisy=3, rose=2)
    shutil.make_archive(str(tmp_path / "flowers"), "zip", folder)
    (tmp_path / "labels.csv").write_text("path,label\nimages/daisy/0.png,a\nimages/rose/0.png,b\n")
    assert scan(tmp_path / "flowers.zip").counts == {"daisy": 3, "rose": 2}
    assert scan(tmp_path / "labels.csv").counts == {"a": 1, "b": 1}


def test_classes_of_unlike_size_are_pointed_out(tmp_path: Path):
    assert "imbalanced, up to 10 to 1" in balance_line(scan(images(tmp_path, a=20, b=2)).counts)


def test_a_path_is_completed_to_the_first_folder_that_fits(tmp_path: Path):
    for name in ("flowers", "flutes", "flag.txt", "fl\x1bx"):
        (tmp_path / name).mkdir() if "." not in name else (tmp_path / name).touch()
    assert complete(f"{tmp_path}/fl", datasets_only=True) == f"{tmp_path}/flowers/"
    assert complete(f"{tmp_path}/fla", datasets_only=True) is None
    assert complete(f"{tmp_path}/fla", datasets_only=False) == f"{tmp_path}/flag.txt"


def test_the_picker_shows_the_classes_with_bars_and_returns_the_folder(tmp_path: Path):
    images(tmp_path / "flowers", daisy=8, **{"[bold]rose\x1b[31m": 4})
    chosen: list[Path | None] = []

    async def main() -> None:
        app: App[int] = App()
        async with app.run_test(size=(80, 24)) as pilot:
            app.push_screen(FolderPicker(tmp_path), chosen.append)
            await pilot.pause()
            await pilot.press(*"flo", "tab")
            await until(pilot, lambda: "2 classes, 12 images" in text_of(app))
            assert "[bold]rose\\x1b[31m" in text_of(app)
            assert "━━━━" in text_of(app)
            await pilot.press("enter")
            await pilot.pause()

    asyncio.run(main())
    assert chosen == [tmp_path / "flowers"]


def test_the_picker_shows_what_the_files_hold_while_it_stays_usable(tmp_path: Path):
    folder = make_images(tmp_path / "flowers", 3)
    shutil.copy(folder / "red" / "00.png", folder / "blue" / "[bold]copy.png")
    chosen: list[Path | None] = []

    async def main() -> None:
        app: App[int] = App()
        async with app.run_test(size=(80, 24)) as pilot:
            app.push_screen(FolderPicker(folder, ask=EngineQueries().scan), chosen.append)
            await until(pilot, lambda: "3 classes, 10 images" in text_of(app))
            await until(pilot, lambda: "10 PNG; 10 RGB; 40 × 40 px" in text_of(app))
            app.screen.query_one("#path", Input).value = f"{tmp_path}/"
            await until(pilot, lambda: "10 PNG" not in text_of(app))
            await pilot.press("down", "down", "down")
            await until(pilot, lambda: "flowers: 3 classes, 10 images" in " ".join(text_of(app).split()))
            app.screen.query_one("#path", Input).value = str(folder)
            await until(pilot, lambda: "10 PNG; 10 RGB; 40 × 40 px" in text_of(app))
            assert "copies in another class 1" in text_of(app)
            await pilot.press("enter")
            await pilot.pause()

    asyncio.run(main())
    assert chosen == [folder]


def test_folders_can_be_walked_without_typing(tmp_path: Path):
    images(tmp_path / "flowers", daisy=1, rose=1)
    chosen: list[Path | None] = []

    async def main() -> None:
        app: App[int] = App()
        async with app.run_test(size=(80, 24)) as pilot:
            app.push_screen(FolderPicker(tmp_path), chosen.append)
            await until(pilot, lambda: "flowers/" in text_of(app))
            await until(pilot, lambda: "2 classes, 2 images" in text_of(app))
            await pilot.press("down", "down", "down", "enter")
            await until(pilot, lambda: app.screen.query_one("#path", Input).value == f"{tmp_path}/flowers/")
            await until(pilot, lambda: "2 classes, 2 images" in text_of(app))
            await pilot.press("enter")
            await pilot.pause()

    asyncio.run(main())
    assert chosen == [tmp_path / "flowers"]


NETWORKS = [
    {"name": "resnet18", "parameters": 11_689_512, "accuracy": 0.698, "weights": "here"},
    {"name": "resnet50", "parameters": 25_557_032, "accuracy": 0.809, "weights": "download"},
    {"name": "vgg16", "parameters": 138_357_544, "accuracy": 0.716, "weights": "download"},
]


def pick_network(queries: EngineQueries, *keys: str, wait_for: str) -> tuple[str, list[str | None]]:
    chosen: list[str | None] = []
    shown = ""

    async def main() -> None:
        nonlocal shown
        app: App[int] = App()
        async with app.run_test(size=(80, 24)) as pilot:
            app.push_screen(ModelPicker(queries, "vgg16"), chosen.append)
            await until(pilot, lambda: wait_for in text_of(app))
            shown = text_of(app)
            await pilot.press(*keys)
            await pilot.pause()

    asyncio.run(main())
    return shown, chosen


def listing() -> EngineQueries:
    script = f"import sys; print({json.dumps(json.dumps(NETWORKS))} if 'timm/' not in sys.argv else '[]')"
    return EngineQueries(models=(sys.executable, "-c", script))


def test_networks_are_listed_with_size_accuracy_and_whether_weights_are_here():
    shown, _ = pick_network(listing(), "escape", wait_for="resnet18")
    assert "11.7 M" in shown
    assert "69.8%" in shown
    assert "local" in shown
    assert "to download" in shown


def test_a_network_is_found_by_a_part_of_its_name():
    assert pick_network(listing(), *"net50", "enter", wait_for="resnet18")[1] == ["resnet50"]


def test_the_network_in_use_is_under_the_cursor():
    assert pick_network(listing(), "enter", wait_for="resnet18")[1] == ["vgg16"]


def test_a_name_can_be_typed_where_the_engine_can_not_list_networks():
    shown, chosen = pick_network(refusing(), *"mine", "enter", wait_for="Type a name")
    assert "is not known" in shown
    assert chosen == ["mine"]


def test_a_cancelled_scan_reads_no_further_folder(tmp_path: Path):
    folders = 50
    for number in range(folders):
        (tmp_path / f"class{number:02}" / "deep").mkdir(parents=True)
        (tmp_path / f"class{number:02}" / "deep" / "notes").write_text("no image")
    polls = 0

    def cancelled() -> bool:
        nonlocal polls
        polls += 1
        return polls > 10

    with pytest.raises(ScanCancelled):
        scan(tmp_path, cancelled)
    assert polls == 11


def test_labels_of_an_image_with_several_are_counted_each(tmp_path: Path):
    images(tmp_path / "images", all=4)
    rows = [f"images/all/{at}.png,{labels}" for at, labels in enumerate(("a;b", "a", "a;c", "b;c"))]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    found = scan(tmp_path / "labels.csv")
    assert (found.counts, found.total) == ({"a": 3, "b": 2, "c": 2}, 4)
    assert summary(found) == "3 labels, 4 images, no splits"


def test_numbers_to_predict_are_no_classes(tmp_path: Path):
    images(tmp_path / "images", all=30)
    rows = [f"images/all/{at}.png,{at / 7:.2f}" for at in range(30)]
    (tmp_path / "numbers.csv").write_text("\n".join(["path,label", *rows]))
    shown: list[str] = []

    async def main() -> None:
        app: App[int] = App()
        async with app.run_test(size=(100, 30)) as pilot:
            await app.push_screen(FolderPicker(tmp_path / "numbers.csv"))
            await until(pilot, lambda: "1 number, 30 images" in text_of(app))
            shown.append(text_of(app))

    asyncio.run(main())
    assert "the labels are 30 numbers" in shown[0]
    assert "balanced" not in shown[0]


@pytest.mark.parametrize("own", [False, True])
def test_expected_splits_are_those_of_the_engine_with_a_limit_per_class(tmp_path: Path, own: bool):
    images(tmp_path / "train" if own else tmp_path, daisy=30, rose=30)
    if own:
        images(tmp_path / "val", daisy=5, rose=5)
    data = DataConfig(path=str(tmp_path), limit_per_class=10, val_fraction=0.2, test_fraction=0.2)
    source, _ = select_images(open_source(data), data, 0, None)
    splits = {name: len(members) for name, members in assign_splits(source.samples, data, 0).items() if name != "test"}
    found = scan(tmp_path)
    assert expected_splits(found.split_counts, len(found.counts), data) == splits
