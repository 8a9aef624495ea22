"""Colour themes as data: one TOML file each, those of the project and those in a user's own folder."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from textual.color import Color, ColorParseError
from textual.design import ColorSystem
from textual.theme import Theme

from tltui.text.glyphs import safe

DEFAULT = "tltui-dark"
SIXTEEN_COLOURS = "tltui-16"
HIGH_CONTRAST = "tltui-high-contrast"
_VARIABLES = frozenset(ColorSystem("#000000").generate()) | frozenset(ColorSystem("#000000", ansi=True).generate())
_TEXT_STYLES = frozenset({"none", "bold", "dim", "italic", "reverse", "strike", "underline", "b", "i", "u", "not"})


def _colour(text: str) -> str:
    try:
        Color.parse(text)
    except ColorParseError:
        raise ValueError(f'"{text}" is no colour; write "#82aadc", or "ansi_cyan" for one of the sixteen') from None
    return text


def _known_variables(variables: dict[str, str]) -> dict[str, str]:
    # the stylesheets are parsed with these when the theme is chosen: what can't be parsed would end the app then
    for name, value in variables.items():
        if name not in _VARIABLES:
            raise ValueError(f'"{name}" is no variable of a Textual theme')
        if name.endswith("-style"):
            wrong = [word for word in value.split() if word not in _TEXT_STYLES]
            if wrong or not value.strip():
                raise ValueError(f'{name}: "{value}" is no text style; write "bold", "none", "underline" …')
        else:
            colour = re.sub(r" \d{1,3}%$", "", value)
            if colour not in ("auto", "transparent", "initial"):
                _colour(colour)
    return variables


Colour = Annotated[str, AfterValidator(_colour)]


class Colours(BaseModel):
    """The colours that a theme has to name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    primary: Colour
    secondary: Colour
    accent: Colour
    success: Colour
    warning: Colour
    error: Colour
    foreground: Colour
    background: Colour
    surface: Colour
    panel: Colour


class ThemeFile(BaseModel):
    """What a theme's file holds. ``variables`` are Textual's own, for what its rules derive less well."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40)
    dark: bool
    ansi: bool = False
    colors: Colours
    variables: Annotated[dict[str, str], AfterValidator(_known_variables)] = {}

    def theme(self) -> Theme:
        """The theme as Textual takes it."""
        # Textual's own stylesheets use these two, yet derives them for true colours only
        derived = {"ansi-background": self.colors.background, "ansi-foreground": self.colors.foreground}
        return Theme(
            name=self.name,
            dark=self.dark,
            ansi=self.ansi,
            variables={**(derived if self.ansi else {}), **self.variables},
            **self.colors.model_dump(),
        )


def load_themes(user_folder: Path | None) -> tuple[list[Theme], list[str]]:
    """All themes that can be used, and a sentence for each file that can't.

    A theme of the user's takes the place of one of the project's with the same name.
    """
    themes: dict[str, Theme] = {}
    problems: list[str] = []
    for folder in (_own_folder(), user_folder):
        for path in sorted(folder.glob("*.toml")) if folder is not None else []:
            try:
                theme = _read(path)
            except ValueError as error:
                problems.append(f"the theme {safe(str(path))} is skipped: {safe(str(error))}")
            else:
                themes[theme.name] = theme
    return list(themes.values()), problems


def _own_folder() -> Path:
    """Inside the installed package, or at the top of a checkout."""
    installed = Path(str(resources.files("tltui") / "themes"))
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "themes"


def _read(path: Path) -> Theme:
    """Raises ValueError with what is wrong."""
    try:
        return ThemeFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).theme()
    except OSError as error:
        raise ValueError(f"it can't be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no valid TOML: {error}") from None
