"""Commands that run experiments and compare runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.experiments.sweep.presets import PRESETS
from engine.files.escapes import printable
from tltui.cli.console import console, print_list, print_or_write
from tltui.cli.options import json_option, overrides, run_names, runs_dir_option, set_option

if TYPE_CHECKING:
    from engine.config.schema import RunConfig


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN RUN...", shell_complete=run_names)
@json_option
@runs_dir_option
def compare(names: tuple[str, ...], as_json: bool, runs_dir: str | None) -> None:
    """Compare runs: settings that differ, curves, metrics, and a paired test of each against the best.

    Running and failed runs are compared as far as they got.

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
    """Find learning rates: train a little while the rate rises, and watch where the loss falls.

    First the head with the backbone frozen, then the backbone. Nothing is kept and no run is created.

    \b
    Example:  tltui lr-find run.toml
    """
    from engine.config.toml_io import load
    from engine.errors import TrainingFailed
    from engine.runs.stopped import Stopped
    from tltui.cli.lr_find import print_range_test

    try:
        print_range_test(console(), _with_start_weights(load(config, overrides(changes))), as_json=as_json)
    except Stopped:
        ctx.exit(130)
    except TrainingFailed as failure:
        click.echo(f"tltui: {printable(str(failure))}", err=True)
        ctx.exit(1)


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="A network instead of the config's; may be repeated.",
)
@set_option
@json_option
@click.pass_context
def probe(ctx: click.Context, config: Path, models: tuple[str, ...], changes: tuple[str, ...], as_json: bool) -> None:
    """Recommend what to train: the head, some stages, or everything.

    Fits a linear probe after every stage in one pass over the images. It trains nothing and creates no run.
    With --model several times, networks are ranked by LogME.

    \b
    Example:  tltui probe run.toml
              tltui probe run.toml --model resnet50 --model timm/convnext_tiny
    """
    from engine.config.toml_io import load
    from engine.runs.stopped import Stopped
    from tltui.cli.probe import print_probes

    try:
        print_probes(console(), _with_start_weights(load(config, overrides(changes))), models, as_json=as_json)
    except Stopped:
        ctx.exit(130)


@click.command()
@click.argument("name", metavar="[SWEEP]", required=False)
@click.option("--show", "wanted", flag_value="show", help="Show the results so far; start nothing.")
@click.option("--watch", "wanted", flag_value="watch", help="Show the results, live.")
@click.option("--stop", "wanted", flag_value="stop", help="Stop all its workers, with checkpoints.")
@click.option("--join", metavar="URL", help="Join the workers of a sweep in this Optuna storage.")
@click.option("--ready", type=click.Choice(tuple(PRESETS)), help="Write the sweep.toml of a preset.")
@click.option("--base", default="run.toml", show_default=True, metavar="BASE", help="The config that --ready varies.")
@click.option(
    "-o",
    "output",
    default="sweep.toml",
    show_default=True,
    metavar="FILE",
    help='File of --ready; "-" prints it.',
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
    """Sweep hyperparameters: each trial is a run, Optuna chooses its settings. SWEEP is a sweep.toml or a sweep's name.

    The same command resumes it. Ctrl-C stops with checkpoints; a second one leaves the trials running.
    Without SWEEP: list the sweeps.

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
        print_or_write(
            command.preset_sweep(folder, ready, base, Path() if output == "-" else Path(output).parent),
            output,
            "tltui sweep",
        )
    elif wanted == "stop":
        command.stop_sweep(folder, name, join)
    elif wanted:
        command.show_sweep(folder, name, join, watch=wanted == "watch", as_json=as_json)
    elif not (name or join):
        from tltui.cli.sweep_views import sweeps_table

        print_list(command.list_sweeps(folder), sweeps_table, as_json)
    elif status := command.run_sweep(folder, name, join, as_json=as_json):
        click.get_current_context().exit(status)


def _with_start_weights(config: RunConfig) -> RunConfig:
    """An experiment has no run's folder of its own, below which an earlier run's id could be found."""
    from engine.runs.start_weights import resolve_start_weights
    from tltui.runs import registry

    return resolve_start_weights(config, registry.runs_folder(None))


COMMANDS = (compare, lr_find, probe, sweep)
