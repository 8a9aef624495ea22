"""``tltui predict``: prints the classes of images."""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.config import data_paths
from engine.errors import InputError
from engine.runs.progress import Report
from engine.system.devices import check_libraries
from tltui.cli import json_output
from tltui.cli.progress_bar import working
from tltui.runs import registry
from tltui.text.glyphs import safe

if TYPE_CHECKING:
    from engine.export.predict import Prediction, Unreadable
    from engine.export.predictor import Predictor


_VALUES = 5  # of a prediction on one line


def predict_images(network: str, paths: Sequence[str], runs_dir: str | None, *, as_json: bool) -> int:
    """Predict the classes of the images at ``paths``; returns the exit status. Raises InputError."""
    check_libraries()
    from engine.export.predict import Prediction, find_images, predict

    files = find_images(_paths(paths))
    if not files:
        raise InputError("there are no images in what was given; name files, or folders that hold some")
    with working() as report:
        opened = _open(network, runs_dir, report)
        began = time.monotonic()
        answers: list[Prediction | Unreadable] = []
        for answer in predict(opened, files, report):
            answers.append(answer)
            if not as_json:
                click.echo(_line(answer))
        seconds = time.monotonic() - began
    if as_json:
        click.echo(json_output.as_json(answers))
    read = sum(isinstance(answer, Prediction) for answer in answers)
    unreadable = f", {len(answers) - read:,} unreadable" if read < len(answers) else ""
    click.echo(f"{read:,} images in {seconds:.1f} s, {read / seconds:,.1f} images/s{unreadable}", err=True)
    return 0 if read else 1


def _open(network: str, runs_dir: str | None, report: Report) -> Predictor:
    from engine.export.formats import find_export, open_export
    from engine.export.predictor import open_run
    from engine.system.cpu import set_up_processor

    set_up_processor()
    report("checkpoint", 0, 0, "")
    file = find_export(Path(network).expanduser())
    return open_export(file) if file else open_run(registry.find(registry.runs_folder(runs_dir), network))


def _paths(given: Sequence[str]) -> Iterator[Path]:
    """The named paths; "-" stands for those on standard input, one per line or separated by zero bytes."""
    for name in given:
        if name == "-":
            listed = sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8)
            if b"\0" in listed:
                lines = listed.split(b"\0")
            else:
                lines = [line.removesuffix(b"\r") for line in listed.split(b"\n")]
            yield from (Path(os.fsdecode(line)) for line in lines if line)
        elif not data_paths.exists(Path(name)):
            raise InputError(f"{name}: there is no such file or folder; check the path")
        else:
            yield Path(name)


def _line(answer: Prediction | Unreadable) -> str:
    from engine.export.predict import Prediction

    if not isinstance(answer, Prediction):
        return safe(f"{answer.path}  can't be read: {answer.error}")
    if answer.values and not answer.top:
        return safe(f"{answer.path}  {'  '.join(f'{name} {value:.6g}' for name, value in answer.values.items())}")
    if answer.probability is None:
        shown = ", ".join(f"{name} {value:.3g}" for name, value in list(answer.values.items())[:_VALUES])
        return safe(f"{answer.path}  {answer.label or 'none'}  ({shown})")
    others = [f"{label} {share:.1%}" for label, share in answer.top if label != answer.label][:2]
    return safe(f"{answer.path}  {answer.label}  {answer.probability:.1%}  ({', '.join(others)})")
