"""Logs what became of a delivery attempt, and measures how long its events took. The engine calls it."""

import logging

import structlog

from broker import failpoints
from broker.delivery.attempt_trace import AttemptTrace
from broker.model.outcome import Decision, Delivered, DeliveryOutcome, PartlyDelivered, Retry
from broker.store.claims import Claim
from broker.telemetry import metrics
from broker.telemetry.logs import log_fields

_log = structlog.get_logger(__name__)
_levels = logging.getLogger(__name__)
"""Asked before a line of each delivery is built: most brokers log none."""


def report_attempt(
    claim: Claim, outcome: DeliveryOutcome, decision: Decision, trace: AttemptTrace, now_ms: int
) -> None:
    """Called when the receiver has answered, and before the outcome is committed."""
    if isinstance(outcome, Delivered):
        failpoints.hit("delivery.answered")
        for event in () if claim.is_repeat else claim.events:
            seconds = max(0, now_ms - event.at_ms) / 1000
            metrics.observe_delivery(seconds, trace.exemplar(event))
        _log_delivery(claim, trace.traceparent)
        return
    is_partial = isinstance(outcome, PartlyDelivered)
    _log.warning(
        "notification partly delivered" if is_partial else "notification not delivered",
        subscription=claim.id,
        type=claim.type,
        attempt=claim.attempts + 1,
        reason=outcome.error.text,
        retry_in_ms=decision.delay_ms if isinstance(decision, Retry) else None,
        **log_fields(trace.traceparent),
    )


def _log_delivery(claim: Claim, traceparent: str) -> None:
    """At debug, or at info if earlier attempts had failed."""
    level = logging.INFO if claim.attempts else logging.DEBUG
    if _levels.isEnabledFor(level):
        numbers = [event.number for event in claim.events]
        _log.log(
            level,
            "notification delivered",
            subscription=claim.id,
            type=claim.type,
            attempt=claim.attempts + 1,
            first_event=min(numbers, default=None),
            last_event=max(numbers, default=None),
            **log_fields(traceparent),
        )
