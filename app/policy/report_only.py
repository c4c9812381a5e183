"""Evaluate a policy beside the enforced one on every decision, and report the results. No result changes an answer.

The evaluation uses only what the decision itself has found out: it makes no call, waits for nothing, and keeps nothing.
"""

import time
import traceback
from collections.abc import Callable
from typing import Final

from app.core.errors import AuthError
from app.decision.record import CandidateNote, DecisionRecord
from app.local.clock import Timer
from app.policy.facts import facts_of_record
from app.policy.verdict import AccessPolicy, evaluate_policy
from app.telemetry.audit import get_logger
from app.telemetry.log_limiter import LogLimiter
from app.telemetry.metrics import Metrics

LOG_SECONDS: Final = 10.0
_FAILED: Final = CandidateNote("failed")


class ReportOnly:
    """Evaluates the policy that ``policy`` returns, after a decision has ended."""

    def __init__(self, policy: Callable[[], AccessPolicy], metrics: Metrics, timer: Timer = time.monotonic) -> None:
        self._policy = policy
        self._metrics = metrics
        self._limiter = LogLimiter(LOG_SECONDS, timer)

    def evaluate(self, record: DecisionRecord, error: AuthError | None) -> None:
        """Note in the record what the policy would have decided, and count it. This raises no exception.

        Args:
            record: the record of the decision, which has ended.
            error: why the decision ended without an approval; None if it approved the proxy.
        """
        try:
            verdict = evaluate_policy(facts_of_record(record, error), self._policy())
            note = CandidateNote(verdict.outcome.value, verdict.reason, verdict.missing)
        except Exception as bug:  # noqa: BLE001 - whatever it is, the decision stays as it is
            note = _FAILED
            self._log(record, bug)
        record.candidate = note
        self._metrics.candidate_evaluated(None if error is None else error.reason, note.outcome)

    def _log(self, record: DecisionRecord, bug: Exception) -> None:
        unlogged = self._limiter.note()
        if unlogged is not None:
            # The text of an exception could contain a credential (I22).
            frame = traceback.extract_tb(bug.__traceback__)[-1]
            get_logger().error(
                "candidate policy failed",
                request_id=record.request_id,
                problem=f"{type(bug).__name__} at {frame.name}:{frame.lineno}",
                more_since_last_line=unlogged,
            )
