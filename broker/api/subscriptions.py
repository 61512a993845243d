"""Subscription: create, read, update, delete, search. Accepted means checked, stored durably, and due for its handshake."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from broker.api.registration import accept
from broker.api.responses import Call, Reply, version_headers
from broker.api.search import Field
from broker.api.searchsets import respond, with_form
from broker.channels.base import Channel
from broker.clock import to_instant
from broker.errors import Issue, NotFound, PreconditionFailed, Unprocessable
from broker.fhir import documents
from broker.fhir.documents import parse
from broker.fhir.filter_strings import render_filter_string
from broker.fhir.native import CHANNEL_TYPES
from broker.model.release import Release
from broker.model.search import ParameterType
from broker.model.subscription import Subscription, SubscriptionId, SubscriptionStatus
from broker.store.subscriptions import Record, Registration

_HANDSHAKE_HEAD_START_MS = 1_000
"""The response leaves first; the wake-up after it makes the handshake due at once."""
_KEYS = uuid.UUID("0c0dbb0e-58a4-5a0c-9d9a-5a6a1a6a7c01")


async def create(call: Call) -> Reply:
    """201 with the accepted resource; with an Idempotency-Key, a repetition finds what the first send made."""
    key = call.headers.get("idempotency-key", "")
    one = str(uuid.uuid5(_KEYS, f"{call.tenant}/{key}") if key else uuid.uuid4())
    draft = _draft(call, one)
    registration, version, at_ms = await call.services.subscriptions.put(
        draft,
        create=True,
        handshake_in_ms=_HANDSHAKE_HEAD_START_MS,
        is_pushed=_channel(call, draft).is_pushed,
    )
    if registration is Registration.EXISTS:
        record = await _record(call, one)
        return _reply(call, record.subscription, status=200)
    return _reply(call, replace(draft, version=version, updated_ms=at_ms), status=201, is_new=True)


async def update(call: Call) -> Reply:
    """Replaces the document, or creates it under that id; the handshake runs again (R-160)."""
    one = call.params["id"]
    documents.check_id(one)
    held = documents.resource_id(call.body)
    if held != one:
        text = (
            f"the body's id is {held!r}, the URL's {one!r}"
            if held
            else "an update needs the URL's id in its body"
        )
        raise Unprocessable(Issue("invalid" if held else "required", text, "Subscription.id"))
    draft = _draft(call, one)
    registration, version, at_ms = await call.services.subscriptions.put(
        draft,
        create=False,
        expected_version=call.expected_version,
        handshake_in_ms=_HANDSHAKE_HEAD_START_MS,
        is_pushed=_channel(call, draft).is_pushed,
    )
    _refuse_conflict(call, registration, version)
    status = 201 if registration is Registration.CREATED else 200
    return _reply(call, replace(draft, version=version, updated_ms=at_ms), status=status, is_new=True)


def _draft(call: Call, one: str) -> Subscription:
    documents.check_type(call.body, "Subscription")
    now_ms = call.services.clock.now_ms()
    return accept(call, call.adapter.parse_subscription(call.body, tenant=call.tenant, id=one, now_ms=now_ms))


def _channel(call: Call, subscription: Subscription) -> Channel:
    return call.services.channels[subscription.channel.type.code]


def _refuse_conflict(call: Call, registration: Registration, version: int) -> None:
    if registration is Registration.CONFLICT:
        text = f"the subscription is at version {version}, not {call.expected_version}"
        raise PreconditionFailed(Issue("conflict", text))


def _reply(call: Call, subscription: Subscription, *, status: int, is_new: bool = False) -> Reply:
    headers = version_headers(subscription.version, subscription.updated_ms)
    if status == 201 or is_new:
        headers["Location"] = call.url(f"Subscription/{subscription.id}/_history/{subscription.version}")

    async def wake() -> None:
        await call.services.schedule.wake(subscription.tenant, subscription.id)

    is_due = is_new and subscription.status is SubscriptionStatus.REQUESTED
    body = b"" if call.wants_minimal and is_new else call.adapter.render_subscription(subscription)
    return Reply(status, body, headers, after=wake if is_due else None)


async def _record(call: Call, one: str) -> Record:
    record = await call.services.subscriptions.get(call.tenant, SubscriptionId(one))
    if record is None:
        raise NotFound(Issue("not-found", f"there is no Subscription/{one}"))
    return record


async def read(call: Call) -> Reply:
    record = await _record(call, call.params["id"])
    reply = _reply(call, record.subscription, status=200)
    if call.headers.get("if-none-match") == reply.headers["ETag"]:
        return Reply(304, headers=reply.headers)
    return reply


async def vread(call: Call) -> Reply:
    """Only the current version of a Subscription is kept."""
    record = await _record(call, call.params["id"])
    if str(record.subscription.version) != call.params["version"]:
        raise NotFound(Issue("not-found", "only the current version of a Subscription is kept"))
    return _reply(call, record.subscription, status=200)


async def delete(call: Call) -> Reply:
    """Stops everything at once, queued retries included (R-158)."""
    one = SubscriptionId(call.params["id"])
    registration, version, _ = await call.services.subscriptions.delete(
        call.tenant, one, expected_version=call.expected_version
    )
    _refuse_conflict(call, registration, version)
    if registration is Registration.ABSENT:
        raise NotFound(Issue("not-found", f"there is no Subscription/{one}"))
    return Reply(204)


async def find(call: Call) -> Reply:
    """Search by the parameters of the release (R-388, R-389)."""
    found = [record.subscription async for record in call.services.subscriptions.of_tenant(call.tenant)]
    return respond(call, "Subscription", FIELDS[call.release], found, call.adapter.render_subscription)


async def find_by_form(call: Call) -> Reply:
    return await find(with_form(call))


def _identifiers(subscription: Subscription) -> Iterator[str]:
    document = parse(subscription.document)
    found = document.get("identifier") or [
        extension.get("valueIdentifier") for extension in document.get("extension", ())
    ]
    for identifier in found:
        if isinstance(identifier, dict) and identifier.get("value"):
            yield f"{identifier.get('system', '')}|{identifier['value']}"


def _contacts(subscription: Subscription) -> Iterator[str]:
    contacts: list[dict[str, Any]] = parse(subscription.document).get("contact", [])
    yield from (f"{one.get('system', '')}|{one['value']}" for one in contacts if one.get("value"))


def _topics(subscription: Subscription) -> Iterator[str]:
    """As written and as bound, with and without the version: who names none means any."""
    for canonical in (subscription.topic, subscription.topic_canonical):
        yield from (canonical, canonical.partition("|")[0])


def _channel_type(subscription: Subscription) -> Iterator[str]:
    kind = subscription.channel.type
    yield f"{kind.system or CHANNEL_TYPES}|{kind.code}"


def _owner(subscription: Subscription) -> Iterator[str | None]:
    yield parse(subscription.document).get("managingEntity", {}).get("reference")


_Fields = Mapping[str, Field[Subscription]]
_TOKEN, _STRING, _URI = ParameterType.TOKEN, ParameterType.STRING, ParameterType.URI
_DATE, _REFERENCE = ParameterType.DATE, ParameterType.REFERENCE
_CONTENTS = "http://hl7.org/fhir/subscription-payload-content"
_BACKPORT_CONTENTS = "http://hl7.org/fhir/uv/subscriptions-backport/CodeSystem/backport-content-code-system"
_STATUSES = "http://hl7.org/fhir/subscription-status"
_COMMON: _Fields = {
    "_id": Field(_TOKEN, lambda one: [one.id]),
    "_lastUpdated": Field(_DATE, lambda one: [to_instant(one.updated_ms)]),
    "contact": Field(_TOKEN, _contacts),
    "identifier": Field(_TOKEN, _identifiers),
    "payload": Field(_TOKEN, lambda one: [one.channel.content_type]),
    "status": Field(_TOKEN, lambda one: [f"{_STATUSES}|{one.status}"]),
    "topic": Field(_URI, _topics),
    "type": Field(_TOKEN, _channel_type),
    "url": Field(_URI, lambda one: [one.channel.endpoint]),
}
_R5: _Fields = {
    **_COMMON,
    "content-level": Field(_TOKEN, lambda one: [f"{_CONTENTS}|{one.channel.content}"]),
    "filter-value": Field(_STRING, lambda one: [each.value for each in one.filters]),
    "name": Field(_STRING, lambda one: [one.name]),
    "owner": Field(_REFERENCE, _owner),
}
_BACKPORT: _Fields = {
    **_COMMON,
    "criteria": Field(_STRING, lambda one: [one.topic]),
    "custom-channel": Field(_TOKEN, _channel_type),
    "filter-criteria": Field(_STRING, lambda one: [render_filter_string(each) for each in one.filters]),
    "payload-type": Field(_TOKEN, lambda one: [f"{_BACKPORT_CONTENTS}|{one.channel.content}"]),
}
FIELDS: Mapping[Release, _Fields] = {Release.R4: _BACKPORT, Release.R4B: _BACKPORT, Release.R5: _R5}
