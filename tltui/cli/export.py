"""``tltui export``: writes a run's network for others to load."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from engine.runs.folder import RunFolder
from engine.system.devices import check_libraries
from tltui.cli import json_output
from tltui.cli.progress_bar import working
from tltui.text.glyphs import safe
from tltui.text.numbers import bytes as bytes_text


def export_run(folder: RunFolder, format_name: str, output: Path | None, *, as_json: bool) -> None:
    """Export a run and print what was written and verified. Raises InputError."""
    check_libraries()
    from engine.export.export import export

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # unwinds, so that nothing half-written is left
    with working() as report:
        exported = export(folder, format_name, output, report)
    if as_json:
        click.echo(json_output.as_json(exported))
        return
    opset = f", opset {exported.opset}" if exported.opset else ""
    click.echo(safe(f"wrote {exported.file} ({bytes_text(exported.bytes)}{opset}), with its card in README.md"))
    compared = exported.comparison
    click.echo(
        safe(
            f"loaded again and compared with {exported.checkpoint} on {compared.images}: largest difference "
            f"{compared.probability:.1e} in {compared.compared}, {compared.logits:.1e} of the largest output"
        )
    )
