"""Reads labels as the targets of a task: the one of data.task, or the guess from the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.config.choices import load_target
from engine.config.schema import DataConfig
from engine.config.targets import LabelColumns, LabelError, Targets
from engine.config.tasks import AUTO, TASKS
from engine.data.finding import DatasetFinding
from engine.data.label_guess import guess_task
from engine.data.source import Source
from engine.errors import InputError

_PLAIN = "single"


def read_targets(columns: LabelColumns, data: DataConfig) -> tuple[str, Targets, list[DatasetFinding]]:
    """The task, the targets that ``columns`` name, and what a user should know about both. Raises LabelError."""
    guess = guess_task(columns.names, columns.rows)
    task = guess.task if data.task == AUTO else data.task
    if task not in TASKS:
        raise LabelError(f'{guess.reason}, which looks like data.task = "{task}"; this version does not have it')
    targets: Targets = load_target(TASKS[task].reader)(columns, data)
    findings: list[DatasetFinding] = []
    if data.task == AUTO and guess.reason:
        others = ", ".join(name for name in TASKS if name != task)
        message = f'{guess.reason}: data.task = "{task}" ({TASKS[task].help}); set data.task to change it ({others})'
        findings.append(DatasetFinding("task_guessed", message))
    if targets.note:
        findings.append(DatasetFinding("labels_read", targets.note))
    return task, targets, findings


def with_task(source: Source, data: DataConfig) -> Source:
    """A source of one class per image, with its class names read as labels for ``data.task``. Raises InputError."""
    if data.task in (AUTO, source.task):
        return source
    try:
        rows = [[source.classes[sample.label]] for sample in source.samples]
        task, targets, findings = read_targets(LabelColumns(["label"], rows), data)
    except LabelError as error:
        reason = str(error)
        if TASKS[data.task].shows == "nothing":
            reason = 'numbers come from a column of a table; set data.task to "single", or data.path to a table'
        raise InputError(f'{data.path or data.name}: data.task = "{data.task}" does not fit: {reason}') from None
    samples = [
        sample._replace(label=target.label, target=target.numbers, text=target.text)
        for sample, target in zip(source.samples, targets.targets, strict=True)
    ]
    found = [*source.findings, *findings]
    return replace(source, classes=targets.classes, samples=samples, task=task, findings=found)


def check_source(source: Source, where: str) -> None:
    """Raises InputError for a dataset from which the task can't be learned."""
    least = TASKS[source.task].least_classes
    if len(source.classes) < least:
        found = f'only the class "{source.classes[0]}" was found' if source.classes else "no class was found"
        raise InputError(f"{where}: {found}; a classifier needs {_COUNTS[least]}")


_COUNTS: Sequence[str] = ("none", "one", "two")
