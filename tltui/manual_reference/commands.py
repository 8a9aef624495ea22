"""The commands with their options."""

from __future__ import annotations

import click

from tltui.cli.main import cli
from tltui.manual.command_pages import PAGES
from tltui.manual_reference.words import prose

_EVERYWHERE = ("--debug", "--help")


def commands() -> str:
    """Every command: what it does, how it is called, its options, an example, its page."""
    root = click.Context(cli, info_name="tltui", color=False)
    parts = [_command(cli, root), *(_command(cli.commands[name], root) for name in sorted(cli.commands))]
    return "\n\n".join(parts)


def _command(command: click.Command, root: click.Context) -> str:
    whole = isinstance(command, click.Group)
    context = root if whole else click.Context(command, info_name=command.name, parent=root)
    about, _, example = (command.help or "").partition("\b\n")
    paragraphs = [prose(paragraph) for paragraph in about.split("\n\n") if paragraph.strip()]
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    examples = [line.strip().removeprefix("Example:").strip() for line in example.splitlines() if line.strip()]
    parts = [
        f"### `{context.command_path}`",
        *paragraphs,
        "```sh\n" + usage + "\n```",
        "\n".join(_options(command, context)),
        "Example:" if len(examples) == 1 else "Examples:" if examples else "",
        "```sh\n" + "\n".join(examples) + "\n```" if examples else "",
        "" if whole else f"Manual: [{PAGES[str(command.name)]}]({PAGES[str(command.name)]}.md)",
    ]
    return "\n\n".join(filter(None, parts))


def _options(command: click.Command, context: click.Context) -> list[str]:
    lines = []
    for param in command.get_params(context):
        if isinstance(param, click.Option) and not set(param.opts) & set(_EVERYWHERE):
            record = param.get_help_record(context)
            if record is not None:
                lines.append(f"- `{record[0]}`: {prose(record[1])}")
    return lines
