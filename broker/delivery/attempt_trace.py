"""The spans of one delivery attempt.

Each event has a span `deliver` in the trace of its producer, from the claim to the commit. The request to the
subscriber is one, whatever the number of its events: its span `send` is in the trace of the first event, and
refers to those of the others by links. Its traceparent goes with the request.
"""

from broker.delivery.attempt_outcomes import ATTEMPT_OUTCOMES
from broker.model.notification import Event
from broker.model.outcome import Delivered, DeliveryOutcome
from broker.model.subscription import Subscription
from broker.model.trace import parse_traceparent, trace_id
from broker.store.claims import Claim
from broker.telemetry.tracing import Span, SpanKind, Tracer

MAX_LINKS = 128
"""As many as OpenTelemetry keeps of a span."""


class AttemptTrace:
    """`traceparent` is that of the attempt: of its first event, and '' without one."""

    def __init__(self, tracer: Tracer, claim: Claim) -> None:
        self._tracer = tracer
        self._claim = claim
        # older versions stored what producers sent as it came
        parent = parse_traceparent(claim.events[0].trace) if claim.events else ""
        span = tracer.start("deliver", SpanKind.CONSUMER, parent)
        self.traceparent = span.traceparent
        self._others = self._spans_of_others(parent) if tracer.is_on else []
        self._spans = [span, *self._others]

    def _spans_of_others(self, first: str) -> list[Span]:
        """The spans of the events that have other traces than the first, if these are recorded."""
        parents = {trace_id(event.trace): event.trace for event in self._claim.events}
        parents.pop(trace_id(first), None)
        sampled = [parent for parent in parents.values() if self._tracer.samples(parent)]
        return [self._tracer.start("deliver", SpanKind.CONSUMER, parent) for parent in sampled[:MAX_LINKS]]

    def sending(self, subscription: Subscription) -> Span:
        """The span of the request, which has its traceparent."""
        span = self._tracer.start("send", SpanKind.CLIENT, self.traceparent)
        span.set("fhir_broker.channel", subscription.channel.type.code)
        for other in self._others:
            span.link(other.traceparent)
        return span

    def exemplar(self, event: Event) -> dict[str, str] | None:
        """The labels of a measurement about the event, None if its trace is recorded nowhere."""
        return self._tracer.exemplar(event.trace)

    def end(self, outcome: DeliveryOutcome) -> None:
        """What the attempt came to is committed."""
        for span in self._spans if self._tracer.is_on else ():
            self._describe(span)
            end_span(span, outcome)

    def _describe(self, span: Span) -> None:
        claim = self._claim
        span.set("fhir_broker.tenant", claim.tenant)
        span.set("fhir_broker.subscription", claim.id)
        span.set("fhir_broker.notification.type", claim.type)
        span.set("fhir_broker.attempt", claim.attempts + 1)
        if claim.events:
            span.set("fhir_broker.event.first", claim.events[0].number)
            span.set("fhir_broker.event.last", claim.events[-1].number)
            span.set("fhir_broker.waited_ms", max(0, claim.now_ms - claim.events[0].at_ms))


def end_span(span: Span, outcome: DeliveryOutcome) -> None:
    """Ends it with the outcome; the text of an error is that which the subscriber's `$status` shows."""
    name = ATTEMPT_OUTCOMES[type(outcome)]
    span.set("fhir_broker.outcome", name)
    if not isinstance(outcome, Delivered):
        span.fail(outcome.error.code or name, outcome.error.text)
    span.end()
