"""One line on what was loaded from a weights file, for the log and the model card. Imports no torch."""

from __future__ import annotations

from engine.files.escapes import printable
from engine.files.text_lists import listed
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
        parts.append(f"adapted to the input channels: {listed(report.adapted, _NAMED)}")
    if report.resampled:
        parts.append(f"resampled to the image size: {listed(report.resampled, _NAMED)}")
    if report.head_classes:
        parts.append(f"head loaded for {report.head_classes:,} classes")
    if report.missing:
        parts.append(f"left random: {listed(report.missing, _NAMED)}")
    return printable("; ".join(parts))  # names come from a file that others wrote
