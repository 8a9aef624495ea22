"""``tltui report``: writes one file about a run."""

from __future__ import annotations

from pathlib import Path

from engine.errors import InputError
from engine.files.atomic import write_atomically
from engine.runs.folder import RunFolder
from tltui.report import html, markdown
from tltui.report.content import content
from tltui.runs import registry


def write_report(folder: RunFolder, output: Path) -> None:
    """Write a report as HTML, or as Markdown if the name ends in .md. Raises InputError."""
    if output.suffix.lower() not in (".html", ".htm", ".md"):
        raise InputError(f"{output}: a report is written as .html or .md; give it such a name")
    state = registry.read(folder)
    parts = content(folder, state, registry.status(folder, state))
    page = markdown.page(parts) if output.suffix.lower() == ".md" else html.page(f"Run {folder.id}", parts)
    try:
        write_atomically(output, page.encode())
    except OSError as error:
        raise InputError(f"{output}: can't be written ({error.strerror}); choose another place with -o") from None
