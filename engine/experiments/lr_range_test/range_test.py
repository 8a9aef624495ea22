"""The learning-rate range test: sweeps the rates of head and backbone, and suggests rates."""

from __future__ import annotations

from collections.abc import Callable

from engine.config.freeze_rules import HEAD
from engine.config.schema import RunConfig
from engine.experiments.lr_range_test.curve import RATES, Curve, RangeTestResult, RangeTestStep, suggest_rate
from engine.experiments.lr_range_test.ramp import Rates, sweep
from engine.experiments.lr_range_test.rollback import trial
from engine.process.dry_run import dry_run
from engine.runs.progress import Report
from engine.training.loop import build_criterion
from engine.training.session import Session
from engine.warning_codes import Warn

SWEEPS = 3  # each in another order of the images: a single sweep measures its batches as much as the rates

OnStep = Callable[[RangeTestStep], None]


def lr_range_test(session: Session, on_step: OnStep) -> RangeTestResult:
    """Test the head's rate with the backbone's at 0, then the backbone's rate.

    Meanwhile the head has the suggested rate, or the configured one without a suggestion. Restores the session.
    ``on_step`` may raise Stopped.
    """
    heads = {session.depths[name].group == HEAD for name in session.freezing.trainable}
    total = len(RATES) * SWEEPS * (int(True in heads) + 2 * int(False in heads))
    test = _Test(session, on_step, total)
    head = test.head() if True in heads else None
    rate = head.suggested if head and head.suggested else session.config.optimizer.lr
    return RangeTestResult(head, test.backbone(rate) if False in heads else None)


class _Test:
    """Runs sweeps, each from the session's weights, and reports their common progress."""

    def __init__(self, session: Session, on_step: OnStep, total: int) -> None:
        self._session = session
        self._criterion = build_criterion(session)
        self._on_step = on_step
        self._total = total
        self._done = 0

    def head(self) -> Curve:
        return suggest_rate([self._sweep("head", order, [(rate, 0.0) for rate in RATES]) for order in range(SWEEPS)])

    def backbone(self, head_rate: float) -> Curve:
        """Compare each sweep with a control on the same batches with a frozen backbone.

        Otherwise the loss falls at any backbone rate, since the head learns.
        """
        sweeps, controls = [], []
        for order in range(SWEEPS):
            controls.append(self._sweep("", order, [(head_rate, 0.0)] * len(RATES)))
            sweeps.append(self._sweep("backbone", order, [(head_rate, rate) for rate in RATES]))
        return suggest_rate(sweeps, controls)

    def _sweep(self, part: str, order: int, rates: list[Rates]) -> list[float]:
        start = self._done

        def on_step(loss: float | None) -> None:
            self._done += 1
            self._on_step(RangeTestStep(part, order, self._done, self._total, RATES[self._done - start - 1], loss))

        with trial(self._session):
            losses = sweep(self._session, self._criterion, rates, order, on_step)
        self._done = start + len(rates)  # counts the steps that divergence skips
        return losses


def run_lr_range_test(config: RunConfig, report: Report, on_step: OnStep, warn: Warn) -> RangeTestResult:
    """Test the rates of a run with these settings, from the same initial weights. Creates no run.

    Raises InputError for bad settings, Stopped on SIGTERM or SIGINT, and TrainingFailed where memory is too small.
    """
    with dry_run(config, report, warn) as session:

        def check_and_report(step: RangeTestStep) -> None:
            session.context.control.check()
            on_step(step)

        return lr_range_test(session, check_and_report)
