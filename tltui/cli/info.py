"""Commands that list networks, datasets, caches and the state of the machine."""

from __future__ import annotations

from typing import Any

import click

from tltui.cli import json_output
from tltui.cli.console import console, print_list
from tltui.cli.options import json_option, overrides, runs_dir_option, set_option


@click.command()
@click.argument("model")
@click.option("--classes", default=1000, show_default=True, type=click.IntRange(1), help="Outputs of the new head.")
@click.option("--image-size", default=0, metavar="PX", help="Side of the images; 0: what the weights expect.")
@click.option("--channels", default=3, show_default=True, type=click.IntRange(1, 4), help="As data.channels.")
@click.option("--hidden", multiple=True, type=click.IntRange(1), help="A hidden layer of the head; may be repeated.")
@click.option("--rule", "rules", multiple=True, help='A freeze rule, e.g. "freeze *"; may be repeated.')
@click.option("--depth", default=2, show_default=True, type=click.IntRange(1), help="Levels of the tree to print.")
@click.option("--profile", is_flag=True, help="Print what each stage costs on this machine; measured once.")
@click.option("--batch-size", default=32, show_default=True, metavar="N", help="With --profile: images a step.")
@click.option("--device", default="auto", show_default=True, help="With --profile: as train.device.")
@click.option("--precision", default="auto", show_default=True, help="With --profile: as train.precision.")
@json_option
def inspect(
    model: str,
    classes: int,
    image_size: int,
    channels: int,
    hidden: tuple[int, ...],
    rules: tuple[str, ...],
    depth: int,
    profile: bool,
    as_json: bool,
    **training: Any,  # noqa: ANN401 (the settings of train.* that a profile depends on)
) -> None:
    """Print a network's layer tree, and which layers a freeze plan makes trainable.

    \b
    Example:  tltui inspect resnet50 --classes 10 --rule "freeze *" --rule "train layer4" --rule "train head"
              tltui inspect resnet50 --profile
    """
    from engine.config.freeze_rules import decide
    from engine.config.schema import HeadConfig
    from tltui.freeze_plan import known_network
    from tltui.tables.evaluation import layer_tree, plan_line

    head = HeadConfig(hidden=list(hidden))
    tree = known_network.layer_tree(model, classes, image_size, head, channels)
    if profile:
        from tltui.cli.costs import print_profile

        print_profile(console(), tree, head, training, as_json=as_json)
        return
    decisions = decide(rules, tree) if rules else None
    if as_json:
        click.echo(json_output.as_json(tree))
        return
    console().print(layer_tree(tree, depth, decisions))
    if decisions:
        click.echo(plan_line(tree, decisions))


@click.command()
@click.argument("pattern", default="")
@json_option
def models(pattern: str, as_json: bool) -> None:
    """List networks by name. PATTERN is a part of the name, or a shell pattern; timm's begin with "timm/".

    A name such as hf-hub:OWNER/NAME or local-dir:FOLDER lists that network.

    \b
    Example:  tltui models 'timm/convnext*'
              tltui models hf-hub:timm/resnet18.a1_in1k
    """
    from engine.system.devices import check_libraries

    check_libraries()
    from engine.models.catalogue import models_like
    from tltui.cli.catalogue import models_table

    print_list(models_like(pattern), models_table, as_json)


@click.command()
@click.option("--path", default="", metavar="DIR", help="The data root in which to look.")
@json_option
def datasets(path: str, as_json: bool) -> None:
    """List datasets by name, and which are on this machine.

    \b
    Example:  tltui datasets --path ~/data
    """
    from engine.data.catalogue import known_datasets
    from tltui.cli.catalogue import datasets_table

    print_list(known_datasets(path), datasets_table, as_json)


@click.command()
@click.argument("path")
@set_option
@json_option
def data(path: str, changes: tuple[str, ...], as_json: bool) -> None:
    """Scan a dataset: formats, values, classes, copies, and what to do about what is odd.

    PATH is a folder, an archive or a table of images. Nothing is decoded but images of more than 8 bits.

    \b
    Example:  tltui data photos/
              tltui data labels.csv --set data.group_column=patient
    """
    from tltui.cli.data_scan import print_scan

    print_scan(path, overrides(changes), as_json=as_json)


@click.command()
@click.argument("action", type=click.Choice(["list", "clear"]), default="list")
@click.option("--yes", is_flag=True, help="Clear without asking.")
@json_option
def cache(action: str, yes: bool, as_json: bool) -> None:
    """List what is cached, for which dataset and network, or clear what no run uses.

    \b
    Example:  tltui cache
              tltui cache clear
    """
    from tltui.cli.cache import clear_cache, list_cache

    if action == "list":
        list_cache(console(), as_json=as_json)
    else:
        clear_cache(ask=not yes, as_json=as_json)


@click.command()
@json_option
@runs_dir_option
def doctor(as_json: bool, runs_dir: str | None) -> None:
    """Print facts about the terminal, devices, weights and folders, for bug reports.

    \b
    Example:  tltui doctor
    """
    from tltui.cli.doctor import examine
    from tltui.tables.evaluation import sections

    found = examine(runs_dir)
    if as_json:
        click.echo(json_output.as_json(found))
    else:
        console().print(sections(found))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that completes commands, options, settings and runs.

    \b
    Example:  eval "$(tltui completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "tltui", "_TLTUI_COMPLETE").source())


COMMANDS = (inspect, models, datasets, data, cache, doctor, completion)
