"""The commands. Each imports what it needs when it runs, so that ``--help`` answers at once."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.errors import InputError
from engine.printable import printable
from tltui import json_output
from tltui.options import (
    app_options,
    headless_option,
    json_option,
    run_argument,
    run_names,
    runs_dir_option,
    set_option,
    showing_options,
)
from tltui.showing import open_app, show_run, shows_app

if TYPE_CHECKING:
    from engine.config import RunConfig

DEBUG = "tltui.debug"


class Commands(click.Group):
    """The group of all commands: each gets ``--debug``, which shows tracebacks."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        cmd.params.append(
            click.Option(["--debug"], is_flag=True, expose_value=False, callback=_debug, help="Show tracebacks.")
        )
        super().add_command(cmd, name)


def _debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = ctx.meta.get(DEBUG, False) or value


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tltui")
@app_options
@runs_dir_option
@click.pass_context
def cli(ctx: click.Context, runs_dir: str | None, **appearance: Any) -> None:  # noqa: ANN401
    """Transfer learning in the terminal. Without a command: the app, with your runs.

    \b
    Example:  tltui demo
    """
    if ctx.invoked_subcommand is None:
        from tltui import runs, terminal

        if refusal := terminal.why_no_app():
            raise InputError(f"{refusal}; `tltui runs` lists your runs, `tltui --help` the other commands")
        ctx.exit(open_app(runs.runs_folder(runs_dir), None, appearance))


@cli.command()
@set_option
@showing_options
@click.pass_context
def demo(ctx: click.Context, changes: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401 (click's, see _train)
    """Fine-tune a pretrained network on handwritten digits; nothing to prepare, no download.

    \b
    Example:  tltui demo
    """
    from tltui.demo import demo_config

    _train(ctx, demo_config(_overrides(changes)), **options)


@cli.command()
@click.option("--data", "data", metavar="DIR", help="A folder of class folders, or a csv file with path and label.")
@click.option("--model", "model", metavar="NAME", help="The network; see `tltui models`.")
@click.option("-o", "output", default="run.toml", show_default=True, metavar="FILE", help='The file; "-" prints it.')
def new(data: str | None, model: str | None, output: str) -> None:
    """Write a config with every setting, its range and what it does.

    \b
    Example:  tltui new --data photos/ --model resnet50 -o run.toml
    """
    from tltui.new import new_config

    text = new_config(data, model, Path() if output == "-" else Path(output).parent)
    if output == "-":
        click.echo(text, nl=False)
        return
    try:
        with Path(output).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{output} exists already; choose another name with -o") from None
    except OSError as error:
        raise InputError(f"{output}: can't be written ({error.strerror}); choose another place with -o") from None
    click.echo(printable(f"wrote {output}; edit it, then: tltui train {output}"))


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@set_option
@showing_options
@click.pass_context
def train(ctx: click.Context, config: Path, changes: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    """Train as CONFIG says. Ctrl-C and SIGTERM stop in order; a lost terminal leaves the run alive.

    \b
    Example:  tltui train run.toml --set optimizer.lr=3e-3 --set train.epochs=20
    """
    from engine.config import load

    _train(ctx, load(config, _overrides(changes)), **options)


@cli.command()
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
    """Show a run from its start and follow it. RUN is an id, the start of one, a path, or "last".

    \b
    Example:  tltui attach last
    """
    from tltui import runs
    from tltui.watch import watch

    folder = runs.find(runs.runs_folder(runs_dir), run)
    if shows_app(headless=headless or as_json):
        ctx.exit(open_app(folder.path.parent, folder, appearance))
    ctx.exit(watch(folder, as_json=as_json))


@cli.command()
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
    """Go on with a run that was stopped, failed or lost its engine, as if nothing had happened.

    Exit status as for train, so that a job's script can say "resume" again and again: 0 also where the run is done.
    A run that failed on a loss that was not finite tries that step again, with what --set changes.

    \b
    Example:  tltui resume last
              tltui resume last --set optimizer.lr=1e-4
    """
    from tltui import runs

    folder = runs.find(runs.runs_folder(runs_dir), run)
    process = runs.resume(folder, _overrides(changes))
    if process is None:
        click.echo(printable(f"run {folder.id} is completed"), err=True)
        return
    show_run(ctx, folder, process, appearance, new=False, detach=detach, headless=headless, as_json=as_json)


@cli.command("runs")
@json_option
@runs_dir_option
def list_runs(as_json: bool, runs_dir: str | None) -> None:
    """List runs, newest first.

    \b
    Example:  tltui runs --json
    """
    from tltui import runs
    from tltui.run_table import RunTable

    known = RunTable(runs.runs_folder(runs_dir))
    rows = known.look()
    for name, reason in known.unreadable.items():
        click.echo(f"tltui: {printable(name)} is passed over: {reason}", err=True)
    if as_json:
        click.echo(json_output.as_json(rows))
    elif rows:
        from tltui.tables import runs_table

        _console().print(runs_table(rows))
    else:
        click.echo("no runs yet; try `tltui demo`, or `tltui new --data DIR` and `tltui train run.toml`")


@cli.command()
@run_argument
@runs_dir_option
def stop(run: str, runs_dir: str | None) -> None:
    """Ask a run to write a checkpoint and end.

    \b
    Example:  tltui stop last
    """
    from engine.protocol import Stop
    from engine.rundir import new_command_id
    from tltui import runs

    folder = runs.find(runs.runs_folder(runs_dir), run)
    runs.ask(folder, Stop(id=new_command_id()))
    for _ in runs.follow(folder):
        pass
    click.echo(printable(f"run {folder.id} is stopped; its last checkpoint is {folder.checkpoints / 'last'}"))


@cli.command()
@run_argument
@click.argument("actions", nargs=-1, required=True, metavar="ACTION...")
@runs_dir_option
def steer(run: str, actions: tuple[str, ...], runs_dir: str | None) -> None:
    """Steer a run that trains: pause, resume, checkpoint, or KEY=VALUE for a setting that can change.

    \b
    Example:  tltui steer last optimizer.lr=1e-4
              tltui steer last 'freeze.rules=["freeze *", "train layer4", "train head"]'
    """
    from engine.protocol import CommandRejected
    from tltui import runs
    from tltui.steer import parse_action

    folder = runs.find(runs.runs_folder(runs_dir), run)
    for command, text in [(parse_action(action), action) for action in actions]:
        answer = runs.ask(folder, command)
        if isinstance(answer, CommandRejected):
            raise InputError(f"{text}: {answer.reason}")
        click.echo(f"{printable(text)}: in force after step {answer.step}")


@cli.command()
@run_argument
@click.option("--data", metavar="DIR", help="Other pictures: a folder for each class, or train/ val/ test/ with those.")
@click.option("--split", type=click.Choice(["val", "test"]), default=None, help="  [default: test where there is one]")
@click.option("--device", default="auto", show_default=True, help="As train.device.")
@json_option
@runs_dir_option
def evaluate(run: str, data: str | None, split: str | None, device: str, as_json: bool, runs_dir: str | None) -> None:
    """Evaluate a run's best checkpoint once more, on its own pictures or on others.

    \b
    Example:  tltui evaluate last --data ~/new-photos
    """
    from pathlib import Path

    from tltui import runs
    from tltui.evaluating import print_evaluation

    folder = runs.find(runs.runs_folder(runs_dir), run)
    other = Path(data).expanduser() if data else None
    print_evaluation(_console(), folder, split or "", other, device, as_json=as_json)


@cli.command()
@run_argument
@click.option("-o", "output", metavar="FILE", help="In .html or .md.  [default: report.html in the run's folder]")
@runs_dir_option
def report(run: str, output: str | None, runs_dir: str | None) -> None:
    """Write one self-contained file about a run: figures, curves, freeze plan, mistakes, how to reproduce it.

    \b
    Example:  tltui report last -o report.html
    """
    from pathlib import Path

    from tltui import runs
    from tltui.report.command import write_report

    folder = runs.find(runs.runs_folder(runs_dir), run)
    file = Path(output).expanduser() if output else folder.path / "report.html"
    write_report(folder, file)
    click.echo(printable(f"wrote {file}"))


@cli.command()
@click.argument("model")
@click.option("--classes", default=1000, show_default=True, type=click.IntRange(2), help="Outputs of the new head.")
@click.option("--image-size", default=0, metavar="PX", help="Side of the pictures; 0: what the weights expect.")
@click.option("--hidden", multiple=True, type=click.IntRange(1), help="A hidden layer of the head; may be repeated.")
@click.option("--rule", "rules", multiple=True, help='A freeze rule, e.g. "freeze *"; may be repeated.')
@click.option("--depth", default=2, show_default=True, type=click.IntRange(1), help="Levels of the tree to print.")
@click.option("--profile", is_flag=True, help="Print instead what its stages cost here; measured once, then known.")
@click.option("--batch-size", default=32, show_default=True, metavar="N", help="With --profile: pictures a step.")
@click.option("--device", default="auto", show_default=True, help="With --profile: as train.device.")
@click.option("--precision", default="auto", show_default=True, help="With --profile: as train.precision.")
@json_option
def inspect(
    model: str,
    classes: int,
    image_size: int,
    hidden: tuple[int, ...],
    rules: tuple[str, ...],
    depth: int,
    profile: bool,
    as_json: bool,
    **training: Any,  # noqa: ANN401 (the settings of train.* that a profile depends on)
) -> None:
    """Print a network's layer tree, and what a freeze plan would train.

    \b
    Example:  tltui inspect resnet50 --classes 10 --rule "freeze *" --rule "train layer4" --rule "train head"
              tltui inspect resnet50 --profile
    """
    from engine.config import HeadConfig
    from engine.models import known_trees
    from engine.plan import decide_model
    from tltui.tables import layer_tree, plan_line

    head = HeadConfig(hidden=list(hidden))
    tree = known_trees.look(model, classes, image_size, head)
    if tree is None:
        from engine.environment import check_libraries

        check_libraries()
        from engine.models.structure import describe

        tree = describe(model, classes, image_size, head)
    if profile:
        from tltui.costs import print_profile

        print_profile(_console(), tree, head, training, as_json=as_json)
        return
    decisions = decide_model(rules, tree) if rules else None
    if as_json:
        click.echo(json_output.as_json(tree))
        return
    _console().print(layer_tree(tree, depth, decisions))
    if decisions:
        click.echo(plan_line(tree, decisions))


@cli.command()
@run_argument
@click.option(
    "--format", "format_name", required=True, type=click.Choice(["safetensors", "onnx", "pt2"]), help="Kind of file."
)
@click.option(
    "-o", "output", type=click.Path(path_type=Path), metavar="DIR", help="A new folder.  [default: the run's export/]"
)
@json_option
@runs_dir_option
def export(run: str, format_name: str, output: Path | None, as_json: bool, runs_dir: str | None) -> None:
    """Write a run's network for others to load, with preprocessing, classes and a model card.

    The file is loaded again and compared with the checkpoint on pictures of the run.

    \b
    Example:  tltui export last --format safetensors
              tltui export last --format onnx -o flowers-onnx
    """
    from tltui import runs
    from tltui.taking_home import export_run

    export_run(runs.find(runs.runs_folder(runs_dir), run), format_name, output, as_json=as_json)


@cli.command()
@click.argument("network", metavar="RUN|EXPORT", shell_complete=run_names)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@json_option
@runs_dir_option
@click.pass_context
def predict(ctx: click.Context, network: str, paths: tuple[str, ...], as_json: bool, runs_dir: str | None) -> None:
    """Tell the classes of pictures. PATH is a picture, a folder of them, or "-" for a list of paths on standard input.

    Exit status 1 where none of them can be read.

    \b
    Example:  tltui predict last holiday/ --json
              find . -name '*.jpg' | tltui predict flowers-onnx -
    """
    from tltui.taking_home import predict_pictures

    ctx.exit(predict_pictures(network, paths, runs_dir, as_json=as_json))


@cli.command()
@click.argument("pattern", default="")
@json_option
def models(pattern: str, as_json: bool) -> None:
    """List networks by name. PATTERN is a part of the name, or a shell pattern; timm's begin with "timm/".

    \b
    Example:  tltui models 'timm/convnext*'
    """
    from engine.environment import check_libraries

    check_libraries()
    from engine.models.catalogue import models_like
    from tltui.catalogue import models_table

    _list(models_like(pattern), models_table, as_json)


@cli.command()
@click.option("--path", default="", metavar="DIR", help="The data root in which to look.")
@json_option
def datasets(path: str, as_json: bool) -> None:
    """List the data sets that can be used by name, and which are on this machine.

    \b
    Example:  tltui datasets --path ~/data
    """
    from engine.data.catalogue import known_datasets
    from tltui.catalogue import datasets_table

    _list(known_datasets(path), datasets_table, as_json)


@cli.command()
@click.argument("action", type=click.Choice(["list", "clear"]), default="list")
@click.option("--yes", is_flag=True, help="Clear without asking.")
@json_option
def cache(action: str, yes: bool, as_json: bool) -> None:
    """List what is cached, for which data and network, or clear all that no run uses.

    \b
    Example:  tltui cache
              tltui cache clear
    """
    from tltui.cached import clear_cache, list_cache

    if action == "list":
        list_cache(_console(), as_json=as_json)
    else:
        clear_cache(ask=not yes, as_json=as_json)


@cli.command()
@json_option
@runs_dir_option
def doctor(as_json: bool, runs_dir: str | None) -> None:
    """Print what the terminal, the device, the weights and the folders look like, for bug reports.

    \b
    Example:  tltui doctor
    """
    from tltui.doctor import examine
    from tltui.tables import sections

    found = examine(runs_dir)
    if as_json:
        click.echo(json_output.as_json(found))
    else:
        _console().print(sections(found))


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands, options, settings and runs.

    \b
    Example:  eval "$(tltui completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "tltui", "_TLTUI_COMPLETE").source())


def _list(rows: list[Any], table: Callable[[list[Any]], Any], as_json: bool) -> None:
    if as_json:
        click.echo(json_output.as_json(rows))
    else:
        _console().print(table(rows))


def _overrides(changes: tuple[str, ...]) -> dict[str, str]:
    pairs = [change.partition("=") for change in changes]
    for key, equals, _ in pairs:
        if not equals:
            raise InputError(f"--set {key}: write KEY=VALUE, e.g. --set train.epochs=20")
    return {key.strip(): value.strip() for key, _, value in pairs}


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
    from tltui import runs

    folder, process = runs.start(runs.runs_folder(runs_dir), config)
    show_run(ctx, folder, process, appearance, new=True, detach=detach, headless=headless, as_json=as_json)


def _console() -> Any:  # noqa: ANN401 (rich is imported when something is printed)
    from rich.console import Console

    # A pipe has no width; a table must not be cut to the 80 columns of a terminal that is not there.
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200)


def main() -> None:
    """The entry point: errors as one sentence on standard error, exit status as INTERFACE has it."""
    try:
        sys.exit(cli.main(prog_name="tltui", standalone_mode=False))
    except click.ClickException as error:
        click.echo(f"tltui: {printable(error.format_message())}; `tltui --help` shows what there is", err=True)
        sys.exit(2)
    except InputError as error:
        _fail(error, 2)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nothing more to say
        sys.exit(0)
    except Exception as error:
        _fail(error, 1)


def _fail(error: Exception, status: int) -> None:
    if "--debug" in sys.argv:
        traceback.print_exception(error)
    what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error} (--debug shows where)"
    click.echo(f"tltui: {printable(what)}", err=True)
    sys.exit(status)
