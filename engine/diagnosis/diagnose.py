"""What is wrong with a run, if anything is: stated rules over figures that the run told of, each with what helps.

A rule speaks where its numbers leave little doubt; ``python -m tests.benchmarks.diagnoses`` measures how often it is
right. What a network forgets has warnings of its own (``engine.training.forgetting``). Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.config.schema import RunConfig
from engine.diagnosis import batch_size, dataset, fit, learning_rate
from engine.diagnosis.evidence import Evidence
from engine.diagnosis.finding import Finding
from engine.runs.state import RunState

Rule = Callable[[Evidence], Finding | None]

# The rules, the most telling first, each with those that it leaves nothing to say for.
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
_AT_ONCE: dict[Rule, tuple[Rule, ...]] = {learning_rate.too_high: ()}  # numbers may explode before an epoch is done


def diagnose(state: RunState, config: RunConfig) -> list[Finding]:
    """What a run shows so far, the most telling first; of most runs nothing. ``config``: as its run.toml has it."""
    seen = Evidence(state, config)
    if not seen.classes:
        return []
    found: list[Finding] = []
    settled: set[Rule] = set()
    for rule, settles in (RULES if seen.epochs else _AT_ONCE).items():
        if rule not in settled and (finding := rule(seen)):
            found.append(finding)
            settled.update(settles)
    return found
