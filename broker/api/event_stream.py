"""Server-sent events: `GET /{release}/Subscription/{id}/$stream`, for dashboards in a browser.

Each notification Bundle is one event whose id is its last event number, so that a browser that reconnects goes on where it was
(`Last-Event-ID`; `?eventsSinceNumber=` for the first time).
"""

from collections.abc import AsyncIterator

from broker.api.responses import Call, Reply
from broker.errors import Issue, Malformed, NotAcceptable, NotFound, StoreUnavailable
from broker.fhir.release import adapter
from broker.model.notification import NotificationType
from broker.model.subscription import SubscriptionId, SubscriptionStatus


async def stream(call: Call) -> Reply:
    """Ends when the subscription does."""
    one = SubscriptionId(call.params["id"])
    record = await call.services.subscriptions.get(call.tenant, one)
    if record is None:
        raise NotFound(Issue("not-found", f"there is no Subscription/{one}"))
    if record.subscription.status is not SubscriptionStatus.ACTIVE:
        raise NotAcceptable(
            Issue("business-rule", f"Subscription/{one} is {record.subscription.status}, not active")
        )
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Reply(headers=headers, media_type="text/event-stream", chunks=_events(call, one, _after(call)))


def _after(call: Call) -> int | None:
    last, since = call.headers.get("last-event-id", ""), call.query.get("eventsSinceNumber", "")
    given = last or since
    if not given:
        return None
    if not given.isdigit():
        raise Malformed(
            Issue("value", f"an event number is a whole number, not {given!r}", "eventsSinceNumber")
        )
    return int(last) if last else max(0, int(since) - 1)


async def _events(call: Call, one: SubscriptionId, after: int | None) -> AsyncIterator[bytes]:
    yield b": connected\n\n"
    try:
        async for notification in call.services.following.follow(call.tenant, one, after):
            base = f"{call.services.base_url}/{notification.release}"
            body = adapter(notification.release).render_notification(notification, base=base)
            number = b""
            if notification.type is NotificationType.EVENT_NOTIFICATION:
                number = f"id: {notification.events_since_start}\n".encode()
            # stored resources may hold line breaks; each line of an event's data has its own prefix
            lines = body.replace(b"\r", b"").replace(b"\n", b"\ndata: ")
            yield number + b"event: " + notification.type.encode() + b"\ndata: " + lines + b"\n\n"
    except StoreUnavailable:
        yield b": the store is away; connect again\n\n"
