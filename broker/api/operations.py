"""`$status`, `$events` and `$resend` (R-360..R-367): what a subscriber asks to find out whether it missed anything, and to get it."""

import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

from broker.api.missing import missing
from broker.api.responses import Call, Reply
from broker.errors import Conflict, Issue, Malformed, NotFound, Unprocessable
from broker.fhir import bundles, documents
from broker.fhir.elements import Elements
from broker.fhir.outcomes import operation_outcome
from broker.model.notification import Notification, NotificationType
from broker.model.subscription import PayloadContent, SubscriptionId, SubscriptionStatus
from broker.store.schedule import ResendResult
from broker.store.subscriptions import Record

MAX_EVENTS = 1_000
MAX_RESENT = 10_000
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
    root = Elements(documents.parse(body), "Parameters")
    found = []
    for one in root.objects("parameter"):
        name = one.text("name", required=True)
        value = next((value for key, value in one.values.items() if key.startswith("value")), None)
        if isinstance(value, bool):
            value = str(value).lower()
        if not isinstance(value, str | int):
            one.refuse("value", f"the parameter {name} takes a plain value", "value")
        elif name:
            found.append((name, str(value)))
    root.finish()
    return found


def refuse_unknown(given: dict[str, list[str]], known: set[str]) -> None:
    for name in given:
        if name not in known:
            text = f"unknown parameter {name!r}; known are {', '.join(sorted(known))}"
            raise Malformed(Issue("not-supported", text, name))


def _query_status(call: Call, record: Record) -> bundles.Entry:
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
        errors=record.errors,
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
    unknown = statuses - set(SubscriptionStatus)
    if unknown:
        text = f"status takes {', '.join(SubscriptionStatus)}, not {min(unknown)!r}"
        raise Malformed(Issue("value", text, "status"))
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
    if len(values) > 1 or not re.fullmatch(r"[0-9]{1,18}", values[0]):
        raise Malformed(Issue("value", f"{name} takes one event number", name))
    return int(values[0])


async def events(call: Call) -> Reply:
    """The numbered events of a range, both ends inclusive; at most `MAX_EVENTS`, the oldest of the range.

    Numbers of the range that have no event any more are told among the errors of the status.
    """
    record = await _record(call)
    given = parameters(call)
    refuse_unknown(given, {"eventsSinceNumber", "eventsUntilNumber", "content"})
    level = _level(given, record.subscription.channel.content)
    since, until = (_number(given, name) for name in _BOUNDS[:2])
    found = await call.services.outboxes.read(
        call.tenant, record.subscription.id, since, until, limit=MAX_EVENTS
    )
    absent = missing(record, since, until, found, is_cut=len(found) == MAX_EVENTS)
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
        foci=await call.services.composer.foci(found, call.release, level),
        related=call.services.composer.related(record.subscription.topic_canonical),
        errors=(*record.errors, *absent),
    )
    return Reply(body=call.adapter.render_notification(notification, base=call.base))


async def resend(call: Call) -> Reply:
    """Delivered events go out once more over the channel, under their numbers; the order of the others stays (R-367)."""
    record = await _record(call)
    given = parameters(call)
    refuse_unknown(given, set(_BOUNDS))
    subscription = record.subscription
    if not call.services.channels[subscription.channel.type.code].is_pushed:
        text = f"nothing is sent over {subscription.channel.type.code}: connect with eventsSinceNumber, or ask for $events"
        raise Unprocessable(Issue("not-supported", text, call.adapter.element("channelType")))
    if subscription.status is not SubscriptionStatus.ACTIVE:
        text = f"Subscription/{subscription.id} is {subscription.status}; events are sent again while it is active"
        raise Unprocessable(Issue("business-rule", text, "Subscription.status"))
    first, last = (_number(given, name) for name in _BOUNDS[:2])
    since_ms, until_ms = (_instant(given, name) for name in _BOUNDS[2:])
    asked_last = record.count if last is None else min(last, record.count)
    last = min(asked_last, record.cursor)
    found = await call.services.outboxes.read(call.tenant, subscription.id, first, last, limit=MAX_RESENT + 1)
    if len(found) > MAX_RESENT:
        raise Unprocessable(Issue("too-costly", f"ask for at most {MAX_RESENT} events at a time"))
    numbers = [
        event.number
        for event in found
        if (since_ms is None or event.at_ms >= since_ms) and (until_ms is None or event.at_ms <= until_ms)
    ]
    if numbers:
        await _send_again(call, record, numbers)
    text = f"{_events(len(numbers))} will be sent again"
    if numbers:
        text += f", numbers {numbers[0]} to {numbers[-1]}"
    issues = [Issue("informational", text, severity="information")]
    if since_ms is None and until_ms is None:
        issues += _not_sent_again(record, max(first or 1, 1), asked_last, numbers)
    return Reply(body=operation_outcome(issues))


def _events(count: int) -> str:
    return f"{count} event{'' if count == 1 else 's'}"


def _not_sent_again(record: Record, first: int, last: int, numbers: list[int]) -> list[Issue]:
    """What becomes of the others from `first` to `last`: gone, or on their way for the first time."""
    issues = []
    delivered = min(last, record.cursor)
    if gone := max(0, delivered - first + 1) - len(numbers):
        verb = "is" if gone == 1 else "are"
        text = f"{_events(gone)} of those asked for {verb} no longer kept"
        issues.append(Issue("not-found", text, severity="warning"))
    if waiting := max(0, last - max(first - 1, record.cursor)):
        text = f"{_events(waiting)} not delivered yet and left to their turn"
        issues.append(Issue("informational", text, severity="information"))
    return issues


async def _send_again(call: Call, record: Record, numbers: list[int]) -> None:
    resending = await call.services.schedule.resend(
        call.tenant, record.subscription.id, record.revision, _ranges(numbers)
    )
    match resending:
        case ResendResult.CHANGED:
            raise Conflict(Issue("conflict", "the subscription was changed meanwhile: ask again"))
        case ResendResult.FULL:
            raise Conflict(Issue("throttled", "too much waits to be sent again already: ask later"))
        case ResendResult.ACCEPTED:
            pass


_BOUNDS = ("eventsSinceNumber", "eventsUntilNumber", "eventsSinceInstant", "eventsUntilInstant")


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as runs, both ends inclusive."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _instant(given: dict[str, list[str]], name: str) -> int | None:
    values = given.get(name, [])
    if not values:
        return None
    try:
        # a `+` of an offset that a URL decoder took for a blank
        moment = datetime.fromisoformat(values[0].replace(" ", "+"))
    except ValueError:
        moment = None
    if len(values) > 1 or moment is None or moment.tzinfo is None or "T" not in values[0]:
        raise Malformed(Issue("value", f"{name} takes one instant, with its offset from UTC", name))
    return int(moment.astimezone(UTC).timestamp() * 1000)


def _level(given: dict[str, list[str]], most: PayloadContent) -> PayloadContent:
    """What was asked for, never more than the subscription was granted (R-364)."""
    for text in given.get("content", [])[:1]:
        try:
            return min(PayloadContent(text), most, key=_LEVELS.index)
        except ValueError:
            raise Malformed(Issue("value", f"content takes {', '.join(PayloadContent)}", "content")) from None
    return most


async def _record(call: Call) -> Record:
    one = SubscriptionId(call.params["id"])
    record = await call.services.subscriptions.get(call.tenant, one)
    if record is None:
        raise NotFound(Issue("not-found", f"there is no Subscription/{one}"))
    return record
