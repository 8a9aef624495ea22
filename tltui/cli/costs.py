"""``tltui inspect --profile``: what the stages of a network cost on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.config.layer_tree import LayerTree
from engine.config.schema import HeadConfig
from engine.config.toml_io import from_tables
from engine.costs import profile_cache
from engine.costs.estimate import Operation, Profile
from tltui.cli import json_output
from tltui.text.glyphs import safe


def print_profile(
    console: Console, tree: LayerTree, head: HeadConfig, training: dict[str, Any], *, as_json: bool
) -> None:
    """Print a network's measured profile, measuring it once; ``training``: settings of ``train``."""
    train = from_tables({"data": {"source": "digits"}, "train": training}).train
    network = (tree.name, tree.classes, tree.input[1], head, train, tree.input[0])
    measured = profile_cache.load(profile_cache.network(*network), Profile)
    if measured is None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the worker, whose times these forecast
        from engine.costs.profile import profile

        measured = profile(*network)
    if as_json:
        click.echo(json_output.as_json(measured))
        return
    click.echo(
        f"{safe(tree.name)} on {measured.device}, {measured.images} images at once, "
        f"training in {measured.precision}, once in {measured.frozen_precision}"
    )
    console.print(profile_table(tree, measured))


def profile_table(tree: LayerTree, measured: Profile) -> Table:
    """Milliseconds and memory per image, one stage per row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    for column in ("once", "forward", "through", "weights", "keeps"):
        table.add_column(column, justify="right")
    stages = {stage.name: stage.paths for stage in tree.stages} | {"head": tree.head}
    rows: dict[str, list[Operation]] = {name: [] for name in (*stages, "between")}
    for does in measured.operations:
        inside = (name for name, paths in stages.items() if any(f"{does.layer}.".startswith(f"{p}.") for p in paths))
        rows[next(inside, "between")].append(does)
    for name, operations in rows.items():
        table.add_row(Text(safe(name)), *_cells(operations))
    table.add_row("all, ms an image", *_cells(measured.operations), style="bold")
    return table


def _cells(operations: Sequence[Operation]) -> list[str]:
    names = ("once", "forward", "through", "weights")
    seconds = [sum(getattr(does, name) for does in operations) for name in names]
    return [*(f"{1000 * value:.2f}" for value in seconds), f"{sum(does.kept for does in operations) / 2**20:.1f} MiB"]
