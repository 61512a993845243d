"""`$status`, `$events` and `$resend`: how a subscriber finds out what it missed, and gets it
(R-360..R-367).
"""

from collections.abc import Sequence

import structlog

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.named_values import render, whole
from broker.api.operation_input import Input, event_number, instant_ms, read_input
from broker.delivery.attempt_audit import entities_of
from broker.errors import Issue, Malformed
from broker.fhir import bundles
from broker.fhir.outcomes import operation_outcome
from broker.fhir.subscription_status import status_id
from broker.model.audit import AuditEntity
from broker.model.notification import Notification
from broker.model.release import Release
from broker.model.subscription import PayloadContent, SubscriptionStatus
from broker.services.events import EventRange, EventService

_log = structlog.get_logger(__name__)
_NUMBERS = {"eventsSinceNumber", "eventsUntilNumber"}
_INSTANTS = {"eventsSinceInstant", "eventsUntilInstant"}


class SubscriptionOperationHandlers:
    """The rows for the operations of a subscriber."""

    def __init__(self, events: EventService) -> None:
        self._events = events

    async def status(self, request: FhirRequest) -> FhirResponse:
        """Of one Subscription. The parameters `id` and `status` are ignored at this level."""
        read_input(request, {"id", "status"})
        status = await self._events.status(request.principal, request.release, request.params["id"])
        return _status_bundle(request, [_status_entry(request, status)])

    async def status_of_many(self, request: FhirRequest) -> FhirResponse:
        """Of the Subscriptions with one of the ids and one of the statuses; all without parameters."""
        values = read_input(request, {"id", "ids", "status"})
        references = [*values.get("id", ()), *values.get("ids", ())]
        statuses = set(values.get("status", ()))
        unsupported = statuses - set(SubscriptionStatus)
        if unsupported:
            text = f"status takes {', '.join(SubscriptionStatus)}, not {min(unsupported)!r}."
            raise Malformed(Issue("value", text, "status"))
        ids = {reference.rpartition("/")[2] for reference in references}
        notifications = self._events.status_of_many(
            request.principal, request.release, ids, {SubscriptionStatus(status) for status in statuses}
        )
        entries, accessed = [], []
        async for each in notifications:
            entries.append(_status_entry(request, each))
            accessed.append(AuditEntity("Subscription", each.subscription))
        return _status_bundle(request, entries)._replace(accessed=accessed)

    async def events(self, request: FhirRequest) -> FhirResponse:
        """The numbered events of a range, at most 1000 and then the oldest.

        Numbers of the range that have no event any more are among the errors of the status.
        """
        values = read_input(request, {*_NUMBERS, "content"})
        notification = await self._events.query(
            request.principal, request.release, request.params["id"], _range(values), _content(values)
        )
        body = request.adapter.render_notification(notification, base=request.base).text
        return FhirResponse(body=body, accessed=entities_of(notification))

    async def resend(self, request: FhirRequest) -> FhirResponse:
        """How many events are sent again, and how many others of the range are not, and why.

        An OperationOutcome says so in R4 and R4B, where the guide defines the operation (R-367), and
        Parameters in R5, where it is the broker's own.
        """
        values = read_input(request, _NUMBERS | _INSTANTS)
        report = await self._events.resend(
            request.principal, request.release, request.params["id"], _range(values)
        )
        _log.info("events will be sent again", path=request.path, events=len(report.numbers))
        if request.release is not Release.R5:
            return FhirResponse(body=operation_outcome(report.issues))
        return FhirResponse(
            body=render(
                whole("resent", len(report.numbers)),
                whole("expired", report.expired),
                whole("undelivered", report.undelivered),
            )
        )


def _status_entry(request: FhirRequest, notification: Notification) -> bundles.BundleMember:
    resource = request.adapter.render_status(notification, base=request.base)
    return bundles.match_entry(f"urn:uuid:{status_id(notification)}", resource)


def _status_bundle(request: FhirRequest, entries: Sequence[bundles.BundleMember]) -> FhirResponse:
    return FhirResponse(body=bundles.searchset(entries, request.self_url, total=len(entries)).text)


def _range(values: Input) -> EventRange:
    return EventRange(
        event_number(values, "eventsSinceNumber"),
        event_number(values, "eventsUntilNumber"),
        instant_ms(values, "eventsSinceInstant"),
        instant_ms(values, "eventsUntilInstant"),
    )


def _content(values: Input) -> PayloadContent | None:
    for text in values.get("content", ())[:1]:
        try:
            return PayloadContent(text)
        except ValueError:
            allowed = ", ".join(PayloadContent)
            raise Malformed(Issue("value", f"content takes {allowed}, not {text!r}.", "content")) from None
    return None
