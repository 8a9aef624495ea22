"""The latest values of a run as one line of text, for screen readers, narrow terminals and logs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from engine.evaluation.metrics import formatted_score, metric_label
from engine.runs.json_floats import decode_float
from engine.runs.state import RunState
from tltui.text import glyphs


def summary_parts(state: RunState) -> list[str]:
    """The latest values, most important first."""
    return list(_parts(state))


def _parts(state: RunState) -> Iterator[str]:
    step = state.steps.last
    epoch = state.epochs[-1] if state.epochs else None
    best = state.best
    if step is None:
        yield "no step yet"
        return
    loss = f"loss {value(decode_float(step.loss, step.nonfinite))}"
    yield f"step {step.step:,}"
    if epoch is None or best is None:
        yield loss
    else:
        yield f"{loss}, val {value(decode_float(epoch.val_loss, epoch.nonfinite))}"
        yield f"val {metric_label(epoch.score)} {formatted_score(epoch.score, epoch.val_score)}"
        yield f"best {formatted_score(best.score, best.val_score)} @{best.epoch}"
        yield f"train {metric_label(state.curve)} {formatted_score(state.curve, epoch.train_metric(state.curve))}"
    rates = sorted(step.lr.items(), key=lambda item: -item[1])
    if rates:
        yield "lr " + ", ".join(f"{glyphs.safe(group, 20)} {lr_text(rate)}" for group, rate in rates)
    if step.grad_norm is not None:
        yield f"gradient norm {value(step.grad_norm)}"


def lr_text(rate: float) -> str:
    """A learning rate in scientific notation: 1.0e-3."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def value(number: float) -> str:
    """Three significant digits; "nan" and "inf" for non-finite numbers."""
    if not math.isfinite(number) or abs(number) < 1e-3:
        return f"{number:.3g}"
    return f"{number:#.3g}".rstrip(".")


def percent(share: float) -> str:
    """An accuracy with one decimal."""
    return f"{100 * share:.1f}%"
