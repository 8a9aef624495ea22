"""Tables and trees of the command line: runs, evaluations, layers."""

from __future__ import annotations

import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from engine.config.freeze_rules import Decision, State, subtree_states
from engine.config.layer_tree import LayerTree
from engine.evaluation.metrics import METRICS, NUMBER_METRICS, formatted_metrics, headline, named_interval, number_texts
from engine.runs.events import Baseline, Evaluated, FrozenProof
from tltui.runs.fold_groups import with_folds_grouped
from tltui.runs.registry import UNREADABLE, RunSummary
from tltui.text.glyphs import UNICODE, safe
from tltui.text.numbers import number, share

_STATE_MARKS: dict[State, str] = {
    "trainable": UNICODE.trainable,
    "frozen": UNICODE.frozen,
    "mixed": UNICODE.mixed,
    "none": " ",
}
_MOST_CLASSES = 20  # a confusion matrix wider than this does not fit a terminal, nor a longer table of classes
_WORST = 15  # classes of the lowest F1 that stand for the others


def runs_table(rows: list[RunSummary]) -> Table:
    """One row for each run; the folds of a cross-validation are indented below one row."""
    table = _table("run", "status", "dataset", "model", "trainable", "best val", "epoch", "started")
    for item in with_folds_grouped(rows):
        if isinstance(item, RunSummary):
            table.add_row(*_run_cells(item))
            continue
        _, _, _, model, trains, _, _, _ = _run_cells(item.current)
        data = f"{safe(item.current.data, 24)} {item.text}"
        began = _date(max(run.created for run in item.runs))
        table.add_row(
            Text(safe(item.name, 40)), Text(item.status), Text(data), model, trains, item.best_text, "", began
        )
        for run in item.runs:
            name, *others = _run_cells(run)
            table.add_row(Text.assemble("  ", name), *others)
    return table


def _run_cells(row: RunSummary) -> list[Text]:
    trains = share(row.trainable / row.total) if row.trainable is not None and row.total else ""
    data = UNREADABLE if row.problem else f"{safe(row.data, 24)} {row.fold_text}".rstrip()
    name, model, epoch = safe(row.run, 40), safe(row.model, 32), f"{row.epoch}/{row.epochs}"
    cells = name, row.status, data, model, trains, row.best_text, epoch, _date(row.created)
    return [Text(cell) for cell in cells]


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def evaluation(evaluated: Evaluated, baselines: list[Baseline]) -> RenderableType:
    """Metrics of one split, the table of classes, and the confusion matrix where it fits."""
    line = Text.assemble(
        (f"{safe(evaluated.split, 20)} {headline(evaluated)}", "bold"),
        *(f"  {text}" for text in (named_interval(evaluated), f"{evaluated.count:,} images") if text),
    )
    others = "  ".join(f"{label} {value}" for label, value in formatted_metrics(evaluated).items())
    parts: list[RenderableType] = [line, Text(others)]
    for baseline in baselines:
        if baseline.split == evaluated.split and evaluated.accuracy is not None:
            difference = (evaluated.accuracy - baseline.accuracy) * 100
            name = safe(baseline.name)
            parts.append(Text(f"{name} reaches {baseline.accuracy:.1%} on the same images: {difference:+.1f} points"))
    if evaluated.per_class:
        parts.append(_class_table(evaluated))
    if len(evaluated.numbers) > 1:
        parts.append(_number_table(evaluated))
    if matrix := evaluated.confusion or evaluated.cooccurrence:
        parts += [_matrix_table(evaluated.classes, matrix)] if len(evaluated.classes) <= _MOST_CLASSES else []
    return Group(*parts)


def _class_table(evaluated: Evaluated) -> RenderableType:
    thresholds = [row.threshold for row in evaluated.per_class if row.threshold is not None]
    table = _table("class", "precision", "recall", "F1", "images", *(["threshold"] if thresholds else []))
    rows = evaluated.per_class
    if len(rows) > _MOST_CLASSES:
        rows = sorted((row for row in rows if row.support), key=lambda row: row.f1)[:_WORST]
    for row in rows:
        figures = [f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}", str(row.support)]
        figures += [] if row.threshold is None else [f"{row.threshold:.3f}"]
        table.add_row(Text(safe(row.label, 32)), *figures)
    left_out = len(evaluated.per_class) - len(rows)
    if not left_out:
        return table
    where = f"evaluation/{safe(evaluated.split, 20)}.json in the run's folder, and --json, have all"
    return Group(table, Text(f"… {left_out:,} more classes; {where}", style="dim"))


def _number_table(evaluated: Evaluated) -> Table:
    headings = [METRICS[name].heading for name in NUMBER_METRICS]
    table = _table("number", *headings, "mean", "deviation")
    for row in evaluated.numbers:
        values = number_texts(row).values()
        table.add_row(Text(safe(row.label, 32)), *values, f"{row.mean:.4g}", f"{row.std:.4g}")
    return table


def _matrix_table(classes: list[str], matrix: list[list[int]]) -> Table:
    table = _table("true ╲ predicted", *(safe(label, 8) for label in classes))
    for at, (label, row) in enumerate(zip(classes, matrix, strict=True)):
        cells = [
            Text(str(count) if count else "·", style="bold" if column == at else "red" if count else "dim")
            for column, count in enumerate(row)
        ]
        table.add_row(Text(safe(label, 32)), *cells)
    return table


def frozen_line(proof: FrozenProof | None) -> str:
    """Whether the bits of the frozen layers are unchanged, in one line."""
    if proof is None or not proof.tensors:
        return "frozen: nothing was frozen when the run ended"
    verdict = "never changed" if proof.unchanged else "CHANGED, which is a bug; please report it"
    return (
        f"frozen: {proof.tensors} tensors of {number(proof.values)} values {verdict}; "
        f"SHA-256 {proof.digest[:12]} compared {proof.checks} times"
    )


def layer_tree(tree: LayerTree, depth: int, decisions: dict[str, Decision] | None) -> Tree:
    """A layer tree down to ``depth``, with trainable and frozen marks where there is a freeze plan."""
    root = Tree(
        Text.assemble((safe(tree.name), "bold"), f"  {number(tree.parameters)} parameters, input {_shape(tree.input)}")
    )
    states = subtree_states(tree, decisions) if decisions else {}
    nodes = {"": root}
    for layer in tree.layers:
        path = layer.path
        if not path or path.count(".") >= depth:
            continue
        state = f"{_STATE_MARKS[states[path]]} " if states else ""
        new = "  new" if path in tree.head else ""
        label = Text.assemble(
            state, (safe(path.rpartition(".")[2]), "bold"), f"  {safe(layer.type)}",
            (f"  {_shape(layer.output)}" if layer.output else "", "dim"),
            f"  {number(layer.total)}" if layer.total else "", new,
        )  # fmt: skip
        nodes[path] = nodes[path.rpartition(".")[0]].add(label)
    return root


def plan_line(tree: LayerTree, decisions: dict[str, Decision]) -> str:
    """The number and share of parameters that a freeze plan trains."""
    trainable = sum(size for name, size in tree.parameter_sizes.items() if decisions[name].trainable)
    return f"trainable {number(trainable)} of {number(tree.parameters)}, {trainable / tree.parameters:.1%}"


def sections(found: dict[str, dict[str, str]]) -> Table:
    """Names and values under headings."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for heading, facts in found.items():
        table.add_row(Text(heading, style="bold"))
        for name, value in facts.items():
            table.add_row(Text(f"  {name}"), Text(safe(value)))
    return table


def _shape(shape: list[int]) -> str:
    return "×".join(map(str, shape[1:] if len(shape) > 3 else shape))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(Text(column))
    return table
