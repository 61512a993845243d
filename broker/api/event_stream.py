"""Server-sent events: `GET /{release}/Subscription/{id}/$stream`, for dashboards in a browser.

Each notification Bundle is one event whose id is its last event number. A browser that reconnects resumes
behind it (`Last-Event-ID`); `?eventsSinceNumber=` says where to start the first time.
"""

from collections.abc import AsyncIterator

from broker.api.exchange import FhirRequest, FhirResponse
from broker.delivery.following import Following
from broker.errors import Issue, Malformed, NotAcceptable, StoreUnavailable
from broker.model.notification import NotificationType
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.model.whole_number import whole_number
from broker.services.client_limits import ClientLimits
from broker.services.subscriptions import SubscriptionService


class EventStreamHandlers:
    """The row for `$stream`."""

    def __init__(
        self, subscriptions: SubscriptionService, following: Following, limits: ClientLimits
    ) -> None:
        self._subscriptions = subscriptions
        self._following = following
        self._limits = limits

    async def stream(self, request: FhirRequest) -> FhirResponse:
        """The stream ends when the Subscription is no longer active."""
        record = await self._subscriptions.get(request.principal, request.params["id"])
        subscription = record.subscription
        if subscription.status is not SubscriptionStatus.ACTIVE:
            text = (
                f"Subscription/{subscription.id} is {subscription.status}. "
                "Update it with the status requested, and connect once it is active."
            )
            raise NotAcceptable(Issue("business-rule", text))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        self._limits.check_connection(request.principal.client)
        events = self._events(request, subscription.id, _resume_after(request))
        return FhirResponse(headers=headers, media_type="text/event-stream", chunks=events)

    async def _events(
        self, request: FhirRequest, subscription_id: SubscriptionId, after: int | None
    ) -> AsyncIterator[bytes]:
        with self._limits.connection(request.principal.client):
            yield b": connected\n\n"
            try:
                async for part in self._notifications(request, subscription_id, after):
                    yield part
            except StoreUnavailable:
                yield b": Store unavailable. Reconnect.\n\n"

    async def _notifications(
        self, request: FhirRequest, subscription_id: SubscriptionId, after: int | None
    ) -> AsyncIterator[bytes]:
        async for notification, body, _ in self._following.follow(
            request.principal.tenant, subscription_id, after, request.requester, request.principal
        ):
            number = b""
            if notification.type is NotificationType.EVENT_NOTIFICATION:
                number = f"id: {notification.events_since_start}\n".encode()
            # a stored resource may contain line breaks, and every line of data needs the prefix
            lines = body.replace(b"\r", b"").replace(b"\n", b"\ndata: ")
            yield number + b"event: " + notification.type.encode() + b"\ndata: " + lines + b"\n\n"


def _resume_after(request: FhirRequest) -> int | None:
    """The number of the last event that the client has; None without one."""
    last, since = request.headers.get("last-event-id", ""), request.query.get("eventsSinceNumber", "")
    if not last and not since:
        return None
    number = whole_number(last or since)
    if number is None:
        text = f"An event number is a whole number, not {last or since!r}."
        raise Malformed(Issue("value", text, "eventsSinceNumber"))
    return number if last else max(0, number - 1)
