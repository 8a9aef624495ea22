"""Diagnoses a run by rules over the metrics that it emitted; each finding has a recommendation.

A rule reports only where its metrics leave little doubt. ``python -m tests.benchmarks.diagnoses`` measures how often
it is correct. Forgetting has warnings of its own (``engine.training.forgetting``). Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.config.schema import RunConfig
from engine.diagnosis import batch_size, dataset, fit, learning_rate
from engine.diagnosis.evidence import Evidence
from engine.diagnosis.finding import Finding
from engine.runs.state import RunState

Rule = Callable[[Evidence], Finding | None]

# The rules, most important first, each with the rules that its finding rules out.
RULES: dict[Rule, tuple[Rule, ...]] = {
    learning_rate.too_high: (
        learning_rate.too_low,
        learning_rate.plateau,
        fit.underfitting,
        fit.overfitting,
        dataset.noisy_labels,
    ),
    learning_rate.too_low: (learning_rate.plateau, fit.underfitting, dataset.imbalance),
    dataset.imbalance: (dataset.noisy_labels,),
    dataset.noisy_labels: (fit.underfitting, learning_rate.plateau),
    batch_size.small_batch: (),
    fit.overfitting: (learning_rate.plateau,),
    learning_rate.plateau: (fit.underfitting,),
    fit.underfitting: (),
}
_WITHOUT_EPOCHS: dict[Rule, tuple[Rule, ...]] = {
    learning_rate.too_high: ()
}  # a loss may become non-finite in the first epoch


def diagnose(state: RunState, config: RunConfig) -> list[Finding]:
    """The findings for a run so far, most important first; most runs have none. ``config`` is that of run.toml."""
    evidence = Evidence(state, config)
    if not evidence.classes:
        return []
    found: list[Finding] = []
    ruled_out: set[Rule] = set()
    for rule, excluded in (RULES if evidence.epochs else _WITHOUT_EPOCHS).items():
        if rule not in ruled_out and (finding := rule(evidence)):
            found.append(finding)
            ruled_out.update(excluded)
    return found
