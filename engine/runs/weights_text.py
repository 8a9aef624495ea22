"""One line on what was loaded from a weights file, for the log and the model card. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from engine.files.escapes import printable
from engine.runs.events import WeightsReport

_NAMED = 3  # tensors that the line names


def weights_text(report: WeightsReport) -> str:
    """What was loaded, adapted, resampled and left random; empty where nothing was loaded.

    Example: ``120 tensors loaded; state dict teacher; prefix backbone. stripped; adapted to the input: conv1.weight``
    """
    if not report.loaded:
        return ""
    parts = [f"{report.loaded:,} tensors loaded"]
    if report.state_dict:
        parts.append(f"state dict {report.state_dict}")
    if report.prefix:
        parts.append(f"prefix {report.prefix} stripped")
    if report.converted:
        parts.append(f"converted from {', '.join(report.converted)}")
    if report.adapted:
        parts.append(f"adapted to the input channels: {_listed(report.adapted)}")
    if report.resampled:
        parts.append(f"resampled to the image size: {_listed(report.resampled)}")
    if report.head_classes:
        parts.append(f"head loaded for {report.head_classes:,} classes")
    if report.missing:
        parts.append(f"left random: {_listed(report.missing)}")
    return printable("; ".join(parts))  # names come from a file that others wrote


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
