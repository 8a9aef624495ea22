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
        raise ValueError(f'"{text}" is not a colour; write "#82aadc", or "ansi_cyan" for one of the sixteen') from None
    return text


def _known_variables(variables: dict[str, str]) -> dict[str, str]:
    # an invalid variable would end the app when the theme is chosen and the stylesheets are parsed
    for name, value in variables.items():
        if name not in _VARIABLES:
            raise ValueError(f'"{name}" is not a Textual theme variable')
        if name.endswith("-style"):
            wrong = [word for word in value.split() if word not in _TEXT_STYLES]
            if wrong or not value.strip():
                raise ValueError(f'{name}: "{value}" is not a text style; write "bold", "none", "underline" …')
        else:
            colour = re.sub(r" \d{1,3}%$", "", value)
            if colour not in ("auto", "transparent", "initial"):
                _colour(colour)
    return variables


Colour = Annotated[str, AfterValidator(_colour)]


class Colours(BaseModel):
    """The required colours of a theme."""

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
    """A theme file. ``variables`` override those that Textual derives from the colours."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40)
    dark: bool
    ansi: bool = False
    colors: Colours
    variables: Annotated[dict[str, str], AfterValidator(_known_variables)] = {}

    def theme(self) -> Theme:
        """Convert to a Textual theme."""
        # used by Textual's stylesheets, which derive them for true colours only
        derived = {"ansi-background": self.colors.background, "ansi-foreground": self.colors.foreground}
        return Theme(
            name=self.name,
            dark=self.dark,
            ansi=self.ansi,
            variables={**(derived if self.ansi else {}), **self.variables},
            **self.colors.model_dump(),
        )


def load_themes(user_folder: Path | None) -> tuple[list[Theme], list[str]]:
    """Load all themes; returns them and a sentence for each invalid file.

    A user theme replaces a built-in one of the same name.
    """
    themes: dict[str, Theme] = {}
    problems: list[str] = []
    for folder in (_own_folder(), user_folder):
        for path in sorted(folder.glob("*.toml")) if folder is not None else []:
            try:
                theme = _read(path)
            except ValueError as error:
                problems.append(f"Theme {safe(str(path))} skipped: {safe(str(error))}")
            else:
                themes[theme.name] = theme
    return list(themes.values()), problems


def _own_folder() -> Path:
    """The built-in themes: in the installed package, or at the top of a checkout."""
    installed = Path(str(resources.files("tltui") / "themes"))
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "themes"


def _read(path: Path) -> Theme:
    """Read a theme file. Raises ValueError with the reason."""
    try:
        return ThemeFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).theme()
    except OSError as error:
        raise ValueError(f"it can't be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not valid TOML: {error}") from None
