"""`$attempts`: the log of the attempts to send the notifications of a Subscription."""

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.named_values import Part, flag, group, instant, render, text, whole
from broker.api.operation_input import Input, event_number, instant_ms, read_input, single
from broker.delivery.attempt_audit import sent_entities
from broker.errors import Issue, Malformed
from broker.model.attempt import Attempt, AttemptOutcome
from broker.model.subscription import PayloadContent
from broker.model.whole_number import whole_number
from broker.services.attempts import MAX_COUNT, AttemptDetails, AttemptFilter, AttemptService

DEFAULT_COUNT = 50
FAILED = "failed"
"""The word for every outcome but `delivered`."""


class AttemptHandlers:
    """The rows for attempts."""

    def __init__(self, attempts: AttemptService) -> None:
        self._attempts = attempts

    async def list(self, request: FhirRequest) -> FhirResponse:
        """A page of attempts, the newest first; one that is named by its id in full."""
        values = read_input(request, {"id", "outcome", "since", "event", "before", "count"})
        subscription_id, attempt_id = request.params["id"], single(values, "id")
        if attempt_id:
            details = await self._attempts.details(request.principal, subscription_id, attempt_id)
            accessed = list(sent_entities(tuple(details.events), PayloadContent.FULL_RESOURCE))
            return FhirResponse(body=render(_in_full(details)), accessed=accessed)
        page = await self._attempts.page(
            request.principal,
            subscription_id,
            _filter(values),
            before=single(values, "before"),
            count=_count(values),
        )
        listed = [group("attempt", *_parts(attempt)) for attempt in page.attempts]
        return FhirResponse(body=render(*listed, text("next", page.next)))


def _filter(values: Input) -> AttemptFilter:
    outcome = single(values, "outcome")
    words = (FAILED, *AttemptOutcome)
    if outcome and outcome not in words:
        text = f"outcome takes {', '.join(words)}, not {outcome!r}."
        raise Malformed(Issue("value", text, "outcome"))
    return AttemptFilter(
        AttemptOutcome(outcome) if outcome and outcome != FAILED else None,
        outcome == FAILED,
        instant_ms(values, "since"),
        event_number(values, "event"),
    )


def _count(values: Input) -> int:
    count = whole_number(single(values, "count") or str(DEFAULT_COUNT))
    if count is None or not 0 < count <= MAX_COUNT:
        raise Malformed(Issue("value", f"count takes a number from 1 to {MAX_COUNT}.", "count"))
    return count


def _in_full(details: AttemptDetails) -> list[Part]:
    sent = details.text
    return group(
        "attempt",
        *_parts(details.attempt),
        text("body", sent.body.decode(errors="replace") if sent else ""),
        text("answer", sent.answer.decode(errors="replace") if sent else ""),
        text("body-hidden", details.hidden),
    )


def _parts(attempt: Attempt) -> list[list[Part]]:
    return [
        text("id", attempt.id),
        instant("time", attempt.at_ms),
        whole("duration-ms", attempt.duration_ms),
        text("outcome", attempt.outcome, "Code"),
        text("type", attempt.type, "Code"),
        flag("sent-again", value=attempt.is_repeat),
        whole("number", attempt.number),
        text("first-event", str(attempt.first_event or "")),
        text("last-event", str(attempt.last_event or "")),
        text("notification", attempt.notification_id),
        text("endpoint", attempt.endpoint),
        *(group("header", text("name", name), text("value", value)) for name, value in attempt.headers),
        whole("status", attempt.status) if attempt.status else [],
        text("error-code", attempt.error_code, "Code"),
        text("error", attempt.error),
        whole("body-bytes", attempt.body_bytes),
        text("body-sha256", attempt.body_sha256),
        text("trace-id", attempt.trace_id),
        flag("body-stored", value=attempt.has_text),
    ]
