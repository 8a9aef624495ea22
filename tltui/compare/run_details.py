"""One run of a comparison in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len

from engine.runs.run_status import RunStatus
from tltui.compare.columns import TESTS, TestWords, p_text, setting_value, verdict
from tltui.compare.structs import ComparedRun, Comparison, Test, Tests
from tltui.text.glyphs import Glyphs, safe


def run_details(comparison: Comparison, number: int, widest: int, glyphs: Glyphs) -> Iterator[str]:
    """Its id and status, the paired test, and the settings whose values are wider than ``widest`` cells."""
    run = comparison.runs[number - 1]
    reason = f": {safe(run.reason)}" if run.reason and run.status is not RunStatus.COMPLETED else ""
    yield f"{run.number}  {safe(run.run)}  {run.status}{reason}"
    yield _tested(comparison, run)
    for difference in comparison.differing:
        value = setting_value(difference, number, glyphs)
        if cell_len(value) > widest:
            yield f"{difference.key} {value}"


def _tested(comparison: Comparison, run: ComparedRun) -> str:
    found, words = comparison.mcnemar, TESTS[comparison.mcnemar.method]
    if run.number == found.best:
        return f"{words.short}: best validation score among runs with predictions; reference of the tests"
    for test in found.tests:
        if test.run == run.number:
            return _verdict(test, found, words)
    reasons = [one.reason for one in found.untested if one.run == run.number]
    return f"{words.short}: not tested, {reasons[0]}" if reasons else f"{words.short}: not tested"


def _verdict(test: Test, found: Tests, words: TestWords) -> str:
    how = {"better": "better than", "worse": "worse than", "": "no significant difference from"}[verdict(test)]
    corrected = ", Holm-corrected" if len(found.tests) > 1 else ""
    return (
        f"{words.short}: {how} {found.best} (p {p_text(test.p_holm)}{corrected}); of {found.count:,} images "
        f"only this run {words.ahead} on {test.only_this:,}, only {found.best} on {test.only_best:,}"
    )
