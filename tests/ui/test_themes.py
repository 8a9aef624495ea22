"""Themes are data: readable in every one, and a broken file costs only itself."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.color import ANSI_COLORS, Color
from textual.theme import Theme
from textual.widgets import Button, Footer, Input, Label

from tltui.app.themes import DEFAULT, SIXTEEN_COLOURS, load_themes

THEMES, PROBLEMS = load_themes(None)
# What the sixteen names look like in xterm and on the Linux console (the palette of VGA).
XTERM = (
    "000000 cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd e5e5e5 7f7f7f ff0000 00ff00 ffff00 5c5cff ff00ff 00ffff ffffff"
)
VGA = "000000 aa0000 00aa00 aa5500 0000aa aa00aa 00aaaa aaaaaa 555555 ff5555 55ff55 ffff55 5555ff ff55ff 55ffff ffffff"
TEXT = ("", "-muted", "-disabled", "-primary", "-secondary", "-accent", "-success", "-warning", "-error")
PAIRS = [
    *((f"text{kind}", ground) for kind in TEXT for ground in ("background", "surface", "panel")),
    *(("foreground", ground) for ground in ("background", "surface", "panel")),
    ("block-cursor-foreground", "block-cursor-background"),
    ("block-cursor-blurred-foreground", "block-cursor-blurred-background"),
    ("footer-key-foreground", "footer-background"),
    ("footer-description-foreground", "footer-background"),
    *(("button-color-foreground", ground) for ground in ("primary", "success", "warning", "error")),
]


class Showcase(App[None]):
    def compose(self) -> ComposeResult:
        yield Label("text")
        yield Input("text")
        yield Button("press", variant="primary")
        yield Footer()


def colours_of(theme: Theme) -> dict[str, str]:
    return {**theme.to_color_system().generate(), **theme.variables}


def seen(text: str, palette: str) -> Color:
    """The colour that a terminal with ``palette`` shows."""
    if text.startswith("ansi_"):
        return Color.parse(f"#{palette.split()[ANSI_COLORS.index(text.removeprefix('ansi_'))]}")
    return Color.parse(text)


def contrast(a: Color, b: Color) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(colour: Color) -> float:
        parts = [part / 255 for part in (colour.r, colour.g, colour.b)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_the_project_brings_a_theme_for_each_need():
    assert PROBLEMS == []
    names = {theme.name for theme in THEMES}
    assert names == {DEFAULT, "tltui-light", "tltui-high-contrast", "tltui-colour-blind", SIXTEEN_COLOURS}
    assert {theme.dark for theme in THEMES} == {True, False}


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("palette", [XTERM, VGA], ids=["xterm", "vga"])
def test_text_stands_out_from_its_ground(theme: Theme, palette: str):
    least = 7.0 if "high-contrast" in theme.name else 4.5
    colours = colours_of(theme)
    ratios = {
        f"{text} on {ground}": contrast(seen(colours[text], palette), seen(colours[ground], palette))
        for text, ground in PAIRS
    }
    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < least} == {}


@pytest.mark.parametrize(
    "sight",
    [  # Machado, Oliveira and Fernandes 2009, severity 1
        ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
        ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    ],
    ids=["protanopia", "deuteranopia"],
)
def test_states_differ_for_colour_blind_eyes(sight: tuple[tuple[float, ...], ...]):
    colours = colours_of(next(theme for theme in THEMES if theme.name == "tltui-colour-blind"))

    def perceived(name: str) -> list[float]:
        rgb = Color.parse(colours[name])[:3]
        return [sum(weight * part for weight, part in zip(row, rgb, strict=True)) for row in sight]

    for one, other in itertools.combinations(("success", "warning", "error"), 2):
        distance = sum((a - b) ** 2 for a, b in zip(perceived(one), perceived(other), strict=True)) ** 0.5
        assert distance > 60, (one, other)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_each_theme_can_be_chosen(theme: Theme):
    async def main() -> None:
        app = Showcase()
        app.register_theme(theme)
        async with app.run_test(size=(40, 10)) as pilot:
            app.theme = theme.name
            await pilot.pause()
            assert app.current_theme.name == theme.name
            assert "press" in app.export_screenshot()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("name = ", "not valid TOML"),
        ('name = "mine"\ndark = true\n', "colors"),
        ('name = "my theme"\ndark = true\n', "name"),
        ("PRIMARY = nonsense", 'colors.primary: "nonsense" is not a colour'),
        ("EXTRA", 'variables: "txet" is not a Textual theme variable'),
        ("STYLE", 'variables: block-cursor-text-style: "loud" is not a text style'),
    ],
)
def test_a_broken_file_is_named_and_skipped(tmp_path: Path, content: str, reason: str):
    good = Path(__file__).parents[2].joinpath("themes/dark.toml").read_text()
    content = {
        "PRIMARY = nonsense": good.replace('primary = "#82aadc"', 'primary = "nonsense"', 1),
        "EXTRA": good + '\ntxet = "#000000"\n',
        "STYLE": good + '\nblock-cursor-text-style = "loud"\n',
    }.get(content, content)
    (tmp_path / "broken.toml").write_text(content)
    (tmp_path / "good.toml").write_text(good.replace("tltui-dark", "mine"))
    themes, problems = load_themes(tmp_path)
    assert len(problems) == 1
    assert "broken.toml skipped" in problems[0]
    assert reason in problems[0]
    assert {theme.name for theme in themes} == {theme.name for theme in THEMES} | {"mine"}


def test_a_theme_of_the_users_replaces_one_of_the_same_name(tmp_path: Path):
    good = Path(__file__).parents[2].joinpath("themes/dark.toml").read_text()
    (tmp_path / "dark.toml").write_text(good.replace('primary = "#82aadc"', 'primary = "#ffffff"', 1))
    themes, problems = load_themes(tmp_path)
    assert problems == []
    assert [theme.primary for theme in themes if theme.name == DEFAULT] == ["#ffffff"]


def test_a_folder_that_is_not_there_is_no_problem(tmp_path: Path):
    assert load_themes(tmp_path / "none")[1] == []
