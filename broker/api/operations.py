"""`$status` and `$events` (R-360..R-365): what a subscriber asks to find out whether it missed anything."""

import uuid

from broker.api.responses import Call, Reply
from broker.errors import Issue, Malformed, NotFound
from broker.fhir import bundles, documents
from broker.fhir.conversion import convert
from broker.fhir.elements import Elements
from broker.model.notification import ErrorReport, Event, Focus, Notification, NotificationType
from broker.model.subscription import PayloadContent, SubscriptionId
from broker.store.subscriptions import Record

MAX_EVENTS = 1_000
_LEVELS = list(PayloadContent)


def parameters(call: Call) -> dict[str, list[str]]:
    """The operation's input: query parameters, commas and repetitions alike, and a Parameters body (R-362)."""
    given: dict[str, list[str]] = {}
    for name, text in call.query.multi_items():
        if name not in {"_format", "_pretty"}:
            given.setdefault(name, []).extend(part for part in text.split(",") if part)
    if call.body:
        for name, text in _of_body(call.body):
            given.setdefault(name, []).append(text)
    return given


def _of_body(body: bytes) -> list[tuple[str, str]]:
    documents.check_type(body, "Parameters")
    return [
        (str(one.values.get("name")), str(value))
        for one in Elements(documents.parse(body), "Parameters").objects("parameter")
        for key, value in one.values.items()
        if key.startswith("value")
    ]


def refuse_unknown(given: dict[str, list[str]], known: set[str]) -> None:
    for name in given:
        if name not in known:
            text = f"unknown parameter {name!r}; known are {', '.join(sorted(known))}"
            raise Malformed(Issue("not-supported", text, name))


def _query_status(call: Call, record: Record) -> bytes:
    subscription = record.subscription
    notification = Notification(
        id=str(uuid.uuid4()),
        type=NotificationType.QUERY_STATUS,
        release=call.release,
        subscription=subscription.id,
        topic=subscription.topic,
        status=subscription.status,
        content=subscription.channel.content,
        events_since_start=record.count,
        at_ms=call.services.clock.now_ms(),
        errors=(record.error,) if record.error else (),
    )
    full_url = f"urn:uuid:{bundles.status_id(notification)}"
    return bundles.match_entry(full_url, call.adapter.render_status(notification, base=call.base))


async def status(call: Call) -> Reply:
    """One subscription; its `id` and `status` parameters are ignored at this level."""
    record = await _record(call)
    refuse_unknown(parameters(call), {"id", "status"})
    return Reply(body=bundles.searchset([_query_status(call, record)], call.self_url, total=1))


async def status_of_many(call: Call) -> Reply:
    """Those asked for by id and status, both at once if both are given; without either, all."""
    given = parameters(call)
    refuse_unknown(given, {"id", "ids", "status"})
    ids = {one.rpartition("/")[2] for one in given.get("id", []) + given.get("ids", [])}
    statuses = set(given.get("status", []))
    if ids:
        wanted = [(call.tenant, SubscriptionId(one)) for one in sorted(ids)]
        records = [record for record in await call.services.subscriptions.many(wanted) if record]
    else:
        records = [record async for record in call.services.subscriptions.of_tenant(call.tenant)]
    entries = [
        _query_status(call, record)
        for record in records
        if not statuses or record.subscription.status in statuses
    ]
    return Reply(body=bundles.searchset(entries, call.self_url, total=len(entries)))


def _number(given: dict[str, list[str]], name: str) -> int | None:
    values = given.get(name, [])
    if not values:
        return None
    if len(values) > 1 or not values[0].isdigit():
        raise Malformed(Issue("value", f"{name} takes one event number", name))
    return int(values[0])


async def events(call: Call) -> Reply:
    """The numbered events of a range, both ends inclusive; at most `MAX_EVENTS`, the oldest of the range."""
    record = await _record(call)
    given = parameters(call)
    refuse_unknown(given, {"eventsSinceNumber", "eventsUntilNumber", "content"})
    level = _level(given, record.subscription.channel.content)
    found = await call.services.outboxes.read(
        call.tenant,
        record.subscription.id,
        _number(given, "eventsSinceNumber"),
        _number(given, "eventsUntilNumber"),
        limit=MAX_EVENTS,
    )
    notification = Notification(
        id=str(uuid.uuid4()),
        type=NotificationType.QUERY_EVENT,
        release=call.release,
        subscription=record.subscription.id,
        topic=record.subscription.topic,
        status=record.subscription.status,
        content=level,
        events_since_start=record.count,
        at_ms=call.services.clock.now_ms(),
        foci=await _foci(call, found, level),
        errors=_errors(record),
    )
    return Reply(body=call.adapter.render_notification(notification, base=call.base))


def _errors(record: Record) -> tuple[ErrorReport, ...]:
    return (record.error,) if record.error else ()


def _level(given: dict[str, list[str]], most: PayloadContent) -> PayloadContent:
    """What was asked for, never more than the subscription was granted (R-364)."""
    for text in given.get("content", [])[:1]:
        try:
            return min(PayloadContent(text), most, key=_LEVELS.index)
        except ValueError:
            raise Malformed(Issue("value", f"content takes {', '.join(PayloadContent)}", "content")) from None
    return most


async def _foci(call: Call, found: list[Event], level: PayloadContent) -> tuple[Focus, ...]:
    if level is not PayloadContent.FULL_RESOURCE:
        return tuple(Focus(event, None) for event in found)
    versions = await call.services.resources.many(event.focus for event in found)
    foci = []
    for event in found:
        version = versions.get(event.focus)
        body = None
        if version is not None and version.body is not None:
            body = convert(version.body, event.focus.type, event.release, call.release)
        foci.append(Focus(event, body))
    return tuple(foci)


async def _record(call: Call) -> Record:
    one = SubscriptionId(call.params["id"])
    record = await call.services.subscriptions.get(call.tenant, one)
    if record is None:
        raise NotFound(Issue("not-found", f"there is no Subscription/{one}"))
    return record
