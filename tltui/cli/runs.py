"""Commands that start, follow and steer runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.config.recipes import READY_MADE
from engine.errors import InputError
from engine.files.escapes import printable
from engine.system.rank_env import is_rank
from tltui.cli import json_output
from tltui.cli.console import console, print_or_write
from tltui.cli.options import (
    app_options,
    headless_option,
    json_option,
    overrides,
    run_argument,
    run_names,
    runs_dir_option,
    set_option,
    showing_options,
)
from tltui.cli.show_run import open_app, show_run, shows_app

if TYPE_CHECKING:
    from engine.config.schema import RunConfig


_RECIPES = "; ".join(f"{name}: {recipe.about}" for name, recipe in READY_MADE.items())


@click.command()
@set_option
@showing_options
@click.pass_context
def demo(ctx: click.Context, changes: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401 (click's, see _train)
    """Fine-tune a pretrained network on handwritten digits; nothing to prepare, no download.

    \b
    Example:  tltui demo
    """
    from tltui.settings.demo import demo_config

    _train(ctx, demo_config(overrides(changes)), **options)


@click.command()
@click.option("--data", "data", metavar="DIR", help="Class folders, or a csv file with path and label.")
@click.option("--model", "model", metavar="NAME", help="The pretrained network; see `tltui models`.")
@click.option("--recipe", type=click.Choice(list(READY_MADE)), help=f"Train in phases. {_RECIPES}.")
@click.option(
    "--label-from",
    metavar="REGEX",
    help="Write labels.csv beside FILE: the class is this group of the images' file names without suffix.",
)
@click.option("-o", "output", default="run.toml", show_default=True, metavar="FILE", help='The file; "-" prints it.')
def new(data: str | None, model: str | None, recipe: str | None, label_from: str | None, output: str) -> None:
    """Write a config with every setting, its range and its meaning.

    \b
    Example:  tltui new --data photos/ --model resnet50 -o run.toml
              tltui new --data photos/ --recipe lp-ft
              tltui new --data photos/ --label-from '(.+)_[0-9]+'    # photos/cat_01.jpg is a cat
    """
    from tltui.cli.new import new_config, write_labels

    folder = Path() if output == "-" else Path(output).parent
    if label_from is not None:
        data = write_labels(data, label_from, folder, Path(output))
    text = new_config(data, model, recipe, folder)
    print_or_write(text, output, "tltui train")


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--folds",
    type=click.IntRange(2, 100),
    metavar="K",
    help="k-fold cross-validation: train a run for each fold, and print mean and interval of their metrics.",
)
@set_option
@showing_options
@click.pass_context
def train(ctx: click.Context, config: Path, folds: int | None, changes: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    """Train as CONFIG says. Ctrl-C and SIGTERM stop with a checkpoint; a lost terminal does not stop the run.

    With --folds the same command continues what was stopped, and trains no completed fold again.

    \b
    Example:  tltui train run.toml --set optimizer.lr=3e-3 --set train.epochs=20
              tltui train run.toml --folds 5
    """
    from engine.config.toml_io import load

    settings = load(config, overrides(changes))
    if folds is None:
        _train(ctx, settings, **options)
    else:
        _train_folds(ctx, settings, folds, **options)


@click.command()
@click.argument("run", default="last", shell_complete=run_names)
@headless_option
@json_option
@app_options
@runs_dir_option
@click.pass_context
def attach(
    ctx: click.Context,
    run: str,
    headless: bool,
    as_json: bool,
    runs_dir: str | None,
    **appearance: Any,  # noqa: ANN401
) -> None:
    """Show a run from its start and follow it. RUN is an id, a unique prefix, a path, or "last".

    \b
    Example:  tltui attach last
    """
    from tltui.cli.follow import watch
    from tltui.runs import registry

    folder = registry.find(registry.runs_folder(runs_dir), run)
    if shows_app(headless=headless or as_json):
        ctx.exit(open_app(folder.path.parent, folder, appearance))
    ctx.exit(watch(folder, as_json=as_json))


@click.command()
@run_argument
@set_option
@showing_options
@click.pass_context
def resume(
    ctx: click.Context,
    run: str,
    changes: tuple[str, ...],
    detach: bool,
    headless: bool,
    as_json: bool,
    runs_dir: str | None,
    **appearance: Any,  # noqa: ANN401
) -> None:
    """Resume a run that was stopped, failed or lost its worker process, or train more epochs after a completed one.

    Exit status as for train, and 0 for a completed run, so a job script can call it every time.
    A run that failed on a non-finite loss retries that step, with what --set changes. For a number, VALUE may be
    relative to the run's: +5, -5, *0.1 or /10.

    \b
    Example:  tltui resume last
              tltui resume last --set optimizer.lr=1e-4
              tltui resume last --set train.epochs=+5
    """
    from tltui.runs import launch, registry

    if is_rank():
        from tltui.cli import torchrun

        here = registry.runs_folder(runs_dir)
        ctx.exit(torchrun.resume(here, run, overrides(changes), detach=detach, as_json=as_json))
    folder = registry.find(registry.runs_folder(runs_dir), run)
    process = launch.resume(folder, overrides(changes))
    if process is None:
        click.echo(printable(f"run {folder.id} is completed; --set train.epochs=+5 trains 5 more"), err=True)
        return
    show_run(ctx, folder, process, appearance, new=False, detach=detach, headless=headless, as_json=as_json)


@click.command("runs")
@json_option
@runs_dir_option
def list_runs(as_json: bool, runs_dir: str | None) -> None:
    """List runs, newest first.

    \b
    Example:  tltui runs --json
    """
    from tltui.runs import registry
    from tltui.runs.run_list import RunList

    rows = RunList(registry.runs_folder(runs_dir)).refresh()
    for row in rows:
        if row.problem:
            click.echo(printable(f"tltui: the settings of run {row.run} can't be read: {row.problem}"), err=True)
    if as_json:
        click.echo(json_output.as_json(rows))
    elif rows:
        from tltui.tables.evaluation import runs_table

        console().print(runs_table(rows))
    else:
        click.echo("no runs yet; try `tltui demo`, or `tltui new --data DIR` and `tltui train run.toml`")


@click.command()
@run_argument
@runs_dir_option
def stop(run: str, runs_dir: str | None) -> None:
    """Stop a run, with a checkpoint.

    \b
    Example:  tltui stop last
    """
    from engine.runs.command_log import new_command_id
    from engine.runs.commands import Stop
    from tltui.runs import launch, registry

    folder = registry.find(registry.runs_folder(runs_dir), run)
    launch.send_and_wait(folder, Stop(id=new_command_id()))
    for _ in launch.follow(folder):
        pass
    click.echo(printable(f"run {folder.id} is stopped; its last checkpoint is {folder.checkpoints / 'last'}"))


@click.command()
@run_argument
@click.argument("actions", nargs=-1, required=True, metavar="ACTION...")
@runs_dir_option
def steer(run: str, actions: tuple[str, ...], runs_dir: str | None) -> None:
    """Steer a running run: pause, resume, checkpoint, or KEY=VALUE for a live setting.

    For a number, VALUE may be relative: +5, -5, *0.1 or /10.

    \b
    Example:  tltui steer last optimizer.lr=1e-4
              tltui steer last train.epochs=+5
              tltui steer last 'freeze.rules=["freeze *", "train layer4", "train head"]'
    """
    from engine.runs.events import CommandRejected
    from engine.runs.state import in_force
    from tltui.cli.control import parse_action
    from tltui.runs import launch, registry

    folder = registry.find(registry.runs_folder(runs_dir), run)
    config = in_force(folder.load_config(), registry.read(folder, steps=False))
    for command, text in [(parse_action(action, config), action) for action in actions]:
        answer = launch.send_and_wait(folder, command)
        if isinstance(answer, CommandRejected):
            raise InputError(f"{text}: {answer.reason}")
        click.echo(f"{printable(text)}: applied after step {answer.step}")


def _train(
    ctx: click.Context,
    config: RunConfig,
    *,
    detach: bool,
    headless: bool,
    as_json: bool,
    runs_dir: str | None,
    **appearance: Any,  # noqa: ANN401 (what app_options adds)
) -> None:
    from tltui.runs import launch, registry

    if is_rank():
        from tltui.cli import torchrun

        ctx.exit(torchrun.train(registry.runs_folder(runs_dir), config, detach=detach, as_json=as_json))
    folder, process = launch.start(registry.runs_folder(runs_dir), config)
    show_run(ctx, folder, process, appearance, new=True, detach=detach, headless=headless, as_json=as_json)


def _train_folds(
    ctx: click.Context,
    config: RunConfig,
    folds: int,
    *,
    detach: bool,
    headless: bool,
    as_json: bool,
    runs_dir: str | None,
    **appearance: Any,  # noqa: ANN401 (what app_options adds)
) -> None:
    from tltui.cli.folds import detach_folds, train_folds, validation_of
    from tltui.runs import registry

    here = registry.runs_folder(runs_dir)
    validation = validation_of(config, folds)
    if detach:
        detach_folds(here, validation, as_json=as_json)
    elif shows_app(headless=headless or as_json):
        from tltui.engine_client.cross_validation import start_folds

        start_folds(here, validation)
        ctx.exit(open_app(here, None, appearance, folds=validation.name))
    else:
        ctx.exit(train_folds(here, validation, as_json=as_json))


COMMANDS = (demo, new, train, attach, resume, list_runs, stop, steer)
