"""The command line: the group of all commands, and the exit status."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click
from click.core import ParameterSource

from engine.errors import InputError
from engine.files.escapes import printable
from engine.runs.exit_codes import BAD_INPUT, DONE, FAILED, INTERRUPTED
from engine.system.interpreter import environment
from tltui.cli import experiments, info, results
from tltui.cli import runs as running
from tltui.cli.help import show_manual
from tltui.cli.options import app_options, runs_dir_option
from tltui.cli.show_run import open_app
from tltui.manual.command_pages import PAGES

DEBUG = "tltui.debug"


class Commands(click.Group):
    """The group of all commands: each gets ``--debug``, which shows tracebacks, and names its page of the manual."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        if page := PAGES.get(name or str(cmd.name)):  # a test sees that every command has one
            cmd.epilog = f"Manual: tltui help {page}"
        cmd.params.append(
            click.Option(["--debug"], is_flag=True, expose_value=False, callback=_debug, help="Show tracebacks.")
        )
        super().add_command(cmd, name)


def _debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = ctx.meta.get(DEBUG, False) or value


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Manual: tltui help",
)
@click.version_option(package_name="tltui")
@app_options
@runs_dir_option
@click.pass_context
def cli(ctx: click.Context, runs_dir: str | None, **appearance: Any) -> None:  # noqa: ANN401
    """Transfer learning in the terminal. Without a command: the app, with your runs.

    \b
    Example:  tltui demo
    """
    if ctx.invoked_subcommand is not None:  # what is given before a command counts as if given after it
        given = {name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
        ctx.default_map = {ctx.invoked_subcommand: {name: ctx.params[name] for name in given}}
        return
    from tltui.app import terminal
    from tltui.runs import registry

    if refusal := terminal.why_no_app():
        raise InputError(f"{refusal}; `tltui runs` lists your runs, `tltui --help` the other commands")
    ctx.exit(open_app(registry.runs_folder(runs_dir), None, appearance))


for command in (*running.COMMANDS, *results.COMMANDS, *experiments.COMMANDS, *info.COMMANDS, show_manual):
    cli.add_command(command)


def main() -> None:
    """The entry point: errors as one sentence on standard error, exit status as ``engine.runs.exit_codes`` has it."""
    os.environ.update(environment())  # for what libraries start
    try:
        sys.exit(cli.main(prog_name="tltui", standalone_mode=False))
    except click.ClickException as error:
        click.echo(f"tltui: {printable(error.format_message())}; `tltui --help` shows what there is", err=True)
        sys.exit(BAD_INPUT)
    except InputError as error:
        _fail(error, BAD_INPUT)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nothing more to say
        sys.exit(DONE)
    except Exception as error:
        _fail(error, FAILED)


def _fail(error: Exception, status: int) -> None:
    if "--debug" in sys.argv:
        traceback.print_exception(error)
    what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error} (--debug shows where)"
    click.echo(f"tltui: {printable(what)}", err=True)
    sys.exit(status)
