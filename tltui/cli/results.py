"""Commands that use a trained run."""

from __future__ import annotations

from pathlib import Path

import click

from engine.export.formats import FORMATS
from engine.files.escapes import printable
from tltui.cli.console import console
from tltui.cli.options import json_option, run_argument, run_names, runs_dir_option


@click.command()
@run_argument
@click.option(
    "--data",
    metavar="DIR",
    help="Other data: class folders, train/ val/ test/ with class folders, an archive or a table.",
)
@click.option("--split", type=click.Choice(["val", "test"]), default=None, help="  [default: test where there is one]")
@click.option("--device", default="auto", show_default=True, help="As train.device.")
@json_option
@runs_dir_option
def evaluate(run: str, data: str | None, split: str | None, device: str, as_json: bool, runs_dir: str | None) -> None:
    """Evaluate a run's best checkpoint again, on its own images or on other data.

    \b
    Example:  tltui evaluate last --data ~/new-photos
    """
    from tltui.cli.evaluate import print_evaluation
    from tltui.runs import registry

    folder = registry.find(registry.runs_folder(runs_dir), run)
    other = Path(data).expanduser() if data else None
    print_evaluation(console(), folder, split or "", other, device, as_json=as_json)


@click.command()
@run_argument
@click.option("-o", "output", metavar="FILE", help="In .html or .md.  [default: report.html in the run's folder]")
@runs_dir_option
def report(run: str, output: str | None, runs_dir: str | None) -> None:
    """Write one self-contained file about a run: metrics, curves, freeze plan, misclassified images, settings.

    \b
    Example:  tltui report last -o report.html
    """
    from tltui.cli.report import write_report
    from tltui.runs import registry

    folder = registry.find(registry.runs_folder(runs_dir), run)
    file = Path(output).expanduser() if output else folder.path / "report.html"
    write_report(folder, file)
    click.echo(printable(f"wrote {file}"))


@click.command()
@run_argument
@click.option(
    "--format",
    "format_name",
    required=True,
    type=click.Choice(list(FORMATS)),
    help="; ".join(f"{name}: {one.content}" for name, one in FORMATS.items()) + ".",
)
@click.option(
    "-o", "output", type=click.Path(path_type=Path), metavar="DIR", help="A new folder.  [default: the run's export/]"
)
@json_option
@runs_dir_option
def export(run: str, format_name: str, output: Path | None, as_json: bool, runs_dir: str | None) -> None:
    """Export a run's network, with preprocessing, classes and a model card.

    The file is loaded again and verified against the checkpoint on images of the run.

    \b
    Example:  tltui export last --format safetensors
              tltui export last --format onnx -o flowers-onnx
    """
    from tltui.cli.export import export_run
    from tltui.runs import registry

    export_run(registry.find(registry.runs_folder(runs_dir), run), format_name, output, as_json=as_json)


@click.command()
@click.argument("network", metavar="RUN|EXPORT", shell_complete=run_names)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@json_option
@runs_dir_option
@click.pass_context
def predict(ctx: click.Context, network: str, paths: tuple[str, ...], as_json: bool, runs_dir: str | None) -> None:
    """Predict the classes of images. PATH is an image, a folder, or "-" for a list of paths on standard input.

    Exit status 1 if no image can be read.

    \b
    Example:  tltui predict last holiday/ --json
              find . -name '*.jpg' | tltui predict flowers-onnx -
    """
    from tltui.cli.predict import predict_images

    ctx.exit(predict_images(network, paths, runs_dir, as_json=as_json))


COMMANDS = (evaluate, report, export, predict)
