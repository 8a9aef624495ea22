"""``tltui report``, as a real process, on a real run."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from engine.config.schema import RunConfig
from engine.config.toml_io import load, to_toml
from engine.runs.command_log import send
from engine.runs.commands import Set
from engine.training.loop import fit
from tests.conftest import Sessions, make_images
from tests.tltui.test_command_line import CommandLine
from tltui.cli.report import write_report

EVIL = "<b onclick=x>`|[a](b)\x1b[31m"


class Page(HTMLParser):
    """What a browser would make of a file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: dict[str, list[dict[str, str | None]]] = {}
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.setdefault(tag, []).append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def tltui(tmp_path_factory: pytest.TempPathFactory, config: Callable[..., RunConfig]) -> CommandLine:
    """With one completed run, one of whose classes has a name that is no good."""
    command = CommandLine(tmp_path_factory.mktemp("report"))
    images = make_images(command.folder / "images")
    (images / "red").rename(images / EVIL.replace("/", ""))
    (command.folder / "run.toml").write_text(to_toml(config(data={"path": str(images), "image_size": 32})))
    done = command("train", "run.toml")
    assert done.returncode == 0, done.stderr
    return command


def test_a_report_holds_what_there_is_to_say_and_nothing_that_is_obeyed(tltui: CommandLine):
    folder = tltui.only_run()
    assert tltui("report", "last", "-o", "report.html").returncode == 0
    source = (tltui.folder / "report.html").read_text()
    page = Page(source)
    for expected in (
        folder.id,
        "test accuracy",
        "F1",
        "epoch",
        "Trainable and frozen layers",
        "never changed",
        "run.toml",
    ):
        assert expected in page.text
    assert "<b onclick=x>`|[a](b)\\x1b[31m" in page.text
    assert "b" not in page.tags
    assert "\x1b" not in source
    assert len(page.tags["svg"]) == 2
    assert not {"script", "link", "iframe"} & set(page.tags)
    sources = [image["src"] or "" for image in page.tags.get("img", [])]
    assert all(one.startswith("data:image/png;base64,") for one in sources)
    for one in sources:
        Image.open(io.BytesIO(base64.b64decode(one.split(",")[1]))).verify()
    assert not re.search(r"https?://", html.unescape(source))

    assert tltui("report", "last", "-o", "report.md").returncode == 0
    text = (tltui.folder / "report.md").read_text()
    assert r"\<b onclick=x\>\`\|\[a\]\(b\)\\x1b\[31m" in text
    assert "\x1b" not in text
    settings = text.split("```toml\n")[1].split("```")[0]
    (tltui.folder / "again.toml").write_text(settings)
    assert load(tltui.folder / "again.toml") == folder.load_config()

    before = set(folder.path.rglob("*"))
    assert tltui("report", "last").returncode == 0
    assert set(folder.path.rglob("*")) - before == {folder.path / "report.html"}


def test_another_kind_of_file_is_refused(tltui: CommandLine):
    refused = tltui("report", "last", "-o", "report.pdf")
    assert (refused.returncode, "written as .html or .md" in refused.stderr) == (2, True)
    refused = tltui("report", "last", "-o", "nowhere/report.md")
    assert (refused.returncode, "can't be written" in refused.stderr) == (2, True)


def test_what_stands_out_comes_with_what_helps(session: Sessions, tmp_path: Path, config: Callable[..., RunConfig]):
    slow = session(config(optimizer={"lr": 1e-7}, train={"epochs": 6, "batch_size": 4}))
    fit(slow)
    slow.context.log.close(5)
    for name in ("report.html", "report.md"):
        write_report(slow.context.folder, tmp_path / name)
        text = (tmp_path / name).read_text()
        assert "Diagnosis" in text
        assert "rate too low: head moved" in text
        assert "optimizer.lr = 1e-06" in text


def test_settings_that_commands_changed_are_listed(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(train={"epochs": 1}))
    folder = run.context.folder
    send(folder, Set(id="1", key="optimizer.lr", value=0.002))
    fit(run)
    run.context.log.close(5)
    write_report(folder, folder.path / "report.md")
    text = (folder.path / "report.md").read_text()
    assert re.search(r"after step.*setting.*value", text)
    assert re.search(r"\| 0 +\| optimizer\.lr +\| 0\.002", text)
