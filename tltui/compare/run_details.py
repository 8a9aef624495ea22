"""One run of a comparison in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len

from engine.runs.run_status import RunStatus
from tltui.compare.columns import p_text, setting_value, verdict
from tltui.compare.structs import ComparedRun, Comparison, Test
from tltui.text.glyphs import Glyphs, safe


def run_details(comparison: Comparison, number: int, widest: int, glyphs: Glyphs) -> Iterator[str]:
    """Its id and status, McNemar's test, and the settings whose values are wider than ``widest`` cells."""
    run = comparison.runs[number - 1]
    reason = f": {safe(run.reason)}" if run.reason and run.status is not RunStatus.COMPLETED else ""
    yield f"{run.number}  {safe(run.run)}  {run.status}{reason}"
    yield _tested(comparison, run)
    for difference in comparison.differing:
        value = setting_value(difference, number, glyphs)
        if cell_len(value) > widest:
            yield f"{difference.key} {value}"


def _tested(comparison: Comparison, run: ComparedRun) -> str:
    found = comparison.mcnemar
    if run.number == found.best:
        return "McNemar: best validation score among runs with predictions; reference of the tests"
    for test in found.tests:
        if test.run == run.number:
            return _verdict(test, found.best or 0, found.count, several=len(found.tests) > 1)
    reasons = [one.reason for one in found.untested if one.run == run.number]
    return f"McNemar: not tested, {reasons[0]}" if reasons else "McNemar: not tested"


def _verdict(test: Test, best: int, count: int, *, several: bool) -> str:
    how = {"better": "better than", "worse": "worse than", "": "no significant difference from"}[verdict(test)]
    corrected = ", Holm-corrected" if several else ""
    return (
        f"McNemar: {how} {best} (p {p_text(test.p_holm)}{corrected}); of {count:,} images "
        f"only this run correct on {test.only_this:,}, only {best} on {test.only_best:,}"
    )
