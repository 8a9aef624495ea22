"""The learning-rate range test: sweeps for the head and for the backbone, and what they suggest."""

from __future__ import annotations

from collections.abc import Callable

from engine.config.freeze_rules import HEAD
from engine.config.schema import RunConfig
from engine.experiments.lr_range_test.curve import RATES, Curve, RangeTestResult, RangeTestStep, suggest_rate
from engine.experiments.lr_range_test.rollback import trial
from engine.experiments.lr_range_test.sweep import Rates, sweep
from engine.process.dry_run import dry_run
from engine.runs.progress import Report
from engine.training.loop import build_criterion
from engine.training.session import Session
from engine.warning_codes import Warn

SWEEPS = 3  # in as many orders of the images, since one alone says as much of its batches as of the rates

Listen = Callable[[RangeTestStep], None]


def lr_range_test(session: Session, listen: Listen) -> RangeTestResult:
    """Test the head's rate with the backbone's at 0, then the backbone's with the head at the suggested rate, or at the
    configured one where there is none.

    The session is afterwards what it was. ``listen`` is told of each step and may raise Stopped.
    """
    heads = {session.depths[name].group == HEAD for name in session.freezing.trainable}
    total = len(RATES) * SWEEPS * (int(True in heads) + 2 * int(False in heads))
    test = _Test(session, listen, total)
    head = test.head() if True in heads else None
    rate = head.suggested if head and head.suggested else session.config.optimizer.lr
    return RangeTestResult(head, test.backbone(rate) if False in heads else None)


class _Test:
    """Sweeps, each from the weights that the session has, and how far they are together."""

    def __init__(self, session: Session, listen: Listen, total: int) -> None:
        self._session = session
        self._criterion = build_criterion(session)
        self._listen = listen
        self._total = total
        self._done = 0

    def head(self) -> Curve:
        return suggest_rate([self._sweep("head", order, [(rate, 0.0) for rate in RATES]) for order in range(SWEEPS)])

    def backbone(self, head_rate: float) -> Curve:
        """While the head learns, the loss falls at any rate of the backbone; so each sweep is compared with one over
        the same batches in which the backbone stays as it is."""
        sweeps, controls = [], []
        for order in range(SWEEPS):
            controls.append(self._sweep("", order, [(head_rate, 0.0)] * len(RATES)))
            sweeps.append(self._sweep("backbone", order, [(head_rate, rate) for rate in RATES]))
        return suggest_rate(sweeps, controls)

    def _sweep(self, part: str, order: int, rates: list[Rates]) -> list[float]:
        start = self._done

        def tell(loss: float | None) -> None:
            self._done += 1
            self._listen(RangeTestStep(part, order, self._done, self._total, RATES[self._done - start - 1], loss))

        with trial(self._session):
            losses = sweep(self._session, self._criterion, rates, order, tell)
        self._done = start + len(rates)  # what an explosion spares is done, too
        return losses


def run_lr_range_test(config: RunConfig, report: Report, listen: Listen, tell: Warn) -> RangeTestResult:
    """Test the rates of a run with these settings, that is not made: it would begin with the same weights.

    ``tell`` takes a warning's code and message. Raises InputError for what can't be used, Stopped after SIGTERM or
    SIGINT, and TrainingFailed where memory is too small.
    """
    with dry_run(config, report, tell) as session:

        def checked(tried: RangeTestStep) -> None:
            session.context.control.check()
            listen(tried)

        return lr_range_test(session, checked)
