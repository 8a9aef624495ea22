"""Commands that try things and compare them."""

from __future__ import annotations

from pathlib import Path

import click

from engine.files.escapes import printable
from tltui.cli.console import console, print_list, print_or_write
from tltui.cli.options import json_option, overrides, run_names, runs_dir_option, set_option

READY_SWEEPS = ("rates", "batch", "epochs", "optimizers")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN RUN...", shell_complete=run_names)
@json_option
@runs_dir_option
def compare(names: tuple[str, ...], as_json: bool, runs_dir: str | None) -> None:
    """Compare runs: settings that differ, curves, figures, and McNemar's test of each against the best.

    Runs that still train or have failed are compared as far as they go.

    \b
    Example:  tltui compare 3fa2 c0de last
    """
    from tltui.cli.compare import print_comparison
    from tltui.runs import registry

    folder = registry.runs_folder(runs_dir)
    print_comparison(console(), [registry.find(folder, name) for name in names], as_json=as_json)


@click.command("lr-find")
@click.argument("config", type=click.Path(path_type=Path))
@set_option
@json_option
@click.pass_context
def lr_find(ctx: click.Context, config: Path, changes: tuple[str, ...], as_json: bool) -> None:
    """Test which learning rates suit: train a little while they rise, and look where the loss falls.

    The head first, with the backbone held still, then the backbone. Nothing is kept of it, no run is made.

    \b
    Example:  tltui lr-find run.toml
    """
    from engine.config.toml_io import load
    from engine.errors import TrainingFailed
    from engine.runs.stopped import Stopped
    from tltui.cli.lr_find import print_range_test

    try:
        print_range_test(console(), load(config, overrides(changes)), as_json=as_json)
    except Stopped:
        ctx.exit(130)
    except TrainingFailed as failure:
        click.echo(f"tltui: {printable(str(failure))}", err=True)
        ctx.exit(1)


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--model", "models", multiple=True, metavar="NAME", help="A network to probe, in place of the config's.")
@set_option
@json_option
@click.pass_context
def probe(ctx: click.Context, config: Path, models: tuple[str, ...], changes: tuple[str, ...], as_json: bool) -> None:
    """Where pretrained features separate your classes, and what to train: the head, some stages, or everything.

    A linear probe after every stage, in one pass over the images; nothing is trained in the network, no run is made.
    With --model several times, networks are ranked by LogME.

    \b
    Example:  tltui probe run.toml
              tltui probe run.toml --model resnet50 --model timm/convnext_tiny
    """
    from engine.config.toml_io import load
    from engine.runs.stopped import Stopped
    from tltui.cli.probe import print_probes

    try:
        print_probes(console(), load(config, overrides(changes)), models, as_json=as_json)
    except Stopped:
        ctx.exit(130)


@click.command()
@click.argument("name", metavar="[SWEEP]", required=False)
@click.option("--show", "wanted", flag_value="show", help="What came of it so far; nothing is started.")
@click.option("--watch", "wanted", flag_value="watch", help="The same, as long as it goes on.")
@click.option("--stop", "wanted", flag_value="stop", help="Have all who work on it stop in order.")
@click.option("--join", metavar="URL", help="Work on a sweep in this Optuna storage, beside others.")
@click.option("--ready", type=click.Choice(READY_SWEEPS), help="Write a ready-made sweep.")
@click.option("--base", default="run.toml", show_default=True, metavar="BASE", help="What --ready varies.")
@click.option(
    "-o", "output", default="sweep.toml", show_default=True, metavar="FILE", help='Of --ready; "-" prints it.'
)
@json_option
@runs_dir_option
def sweep(
    name: str | None,
    wanted: str | None,
    join: str | None,
    ready: str | None,
    base: str,
    output: str,
    as_json: bool,
    runs_dir: str | None,
) -> None:
    """Try many settings: each trial is a run, Optuna chooses its settings. SWEEP is a sweep.toml or a sweep's name.

    The same command again goes on where it was. Ctrl-C stops in order, a second one leaves the trials to themselves.
    Without SWEEP: which sweeps there are.

    \b
    Example:  tltui sweep --ready rates --base run.toml
              tltui sweep sweep.toml
              tltui sweep sweep.toml --show
              tltui sweep --join postgresql://host/sweeps sweep-3f2a1c
    """
    from tltui.cli import sweep as command
    from tltui.runs import registry

    folder = registry.runs_folder(runs_dir)
    if ready:
        print_or_write(command.ready_sweep(folder, ready, base), output, "tltui sweep")
    elif wanted == "stop":
        command.stop_sweep(folder, name, join)
    elif wanted:
        command.show_sweep(folder, name, join, watch=wanted == "watch", as_json=as_json)
    elif not (name or join):
        from tltui.cli.sweep_views import sweeps_table

        print_list(command.list_sweeps(folder), sweeps_table, as_json)
    elif status := command.run_sweep(folder, name, join, as_json=as_json):
        click.get_current_context().exit(status)


COMMANDS = (compare, lr_find, probe, sweep)
