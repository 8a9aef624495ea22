"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from engine.errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])


def run_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Ids that begin with what was typed."""
    from tltui.runs import registry

    known = registry.folders(registry.runs_folder(ctx.params.get("runs_dir")))
    return [name for name in ["last", *(folder.id for folder in known)] if name.startswith(incomplete)]


def _setting_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from engine.config.schema import settings

    return [f"{key}=" for key, _ in settings() if key.startswith(incomplete)]


runs_dir_option = click.option("--runs-dir", metavar="DIR", help="The folder of runs.  [default: $TLTUI_RUNS]")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON on standard output, nothing else.")
headless_option = click.option("--headless", is_flag=True, help="Plain progress instead of the app.")
set_option = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=_setting_names,
    help="Change a setting, e.g. --set train.epochs=20; may be repeated.",
)
detach_option = click.option("--detach", is_flag=True, help="Start the run, print its id and return.")


def app_options(function: Function) -> Function:
    """Options for the app's looks and input."""
    for option in (
        click.option("--theme", metavar="NAME", help="Colours: tltui-dark, tltui-light … or a file of yours."),
        click.option(
            "--marker",
            type=click.Choice(["braille", "hd", "dot", "ascii"]),
            default="braille",
            help="Dots of the curves.",
        ),
        click.option(
            "--images",
            type=click.Choice(["kitty", "sixel", "blocks"]),
            help="How images are drawn, where the terminal's name does not tell what it can.",
        ),
        click.option("--ascii", "ascii_only", is_flag=True, help="Plain ASCII instead of symbols and lines."),
        click.option("--no-mouse", is_flag=True, help="Leave the mouse to the terminal, to select and copy text."),
    ):
        function = option(function)
    return function


def overrides(changes: tuple[str, ...]) -> dict[str, str]:
    """What ``--set`` changes, by key. Raises InputError."""
    pairs = [change.partition("=") for change in changes]
    for key, equals, _ in pairs:
        if not equals:
            raise InputError(f"--set {key}: write KEY=VALUE, e.g. --set train.epochs=20")
    return {key.strip(): value.strip() for key, _, value in pairs}


run_argument = click.argument("run", shell_complete=run_names)


def showing_options(function: Function) -> Function:
    """Options of commands that start a run."""
    for option in (runs_dir_option, app_options, json_option, headless_option, detach_option):
        function = option(function)
    return function
