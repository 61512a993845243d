"""`$get-ws-binding-token` (R-366): what a websocket is bound with."""

import orjson

from broker.api.operations import parameters, refuse_unknown
from broker.api.responses import Call, Reply
from broker.clock import to_instant
from broker.errors import Issue, NotFound, Unprocessable
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.store.subscriptions import Record

CHANNEL = "websocket"
LIFETIME_MS = 30 * 60 * 1000


async def token(call: Call) -> Reply:
    """For one subscription; an `id` parameter is ignored at this level."""
    refuse_unknown(parameters(call), {"id"})
    return await _issue(call, [await _record(call, call.params["id"])])


async def token_for_many(call: Call) -> Reply:
    """For the subscriptions named by `id`, or all websocket subscriptions of the caller."""
    given = parameters(call)
    refuse_unknown(given, {"id"})
    ids = [one.rpartition("/")[2] for one in given.get("id", [])]
    if ids:
        return await _issue(call, [await _record(call, one) for one in dict.fromkeys(ids)])
    records = [
        record async for record in call.services.subscriptions.of_tenant(call.tenant) if _can_bind(record)
    ]
    if not records:
        raise NotFound(Issue("not-found", "there is no active subscription with the channel websocket"))
    return await _issue(call, records)


async def _record(call: Call, one: str) -> Record:
    record = await call.services.subscriptions.get(call.tenant, SubscriptionId(one))
    if record is None:
        raise NotFound(Issue("not-found", f"there is no Subscription/{one}", "id"))
    if not _can_bind(record):
        channel, status = record.subscription.channel.type.code, record.subscription.status
        text = f"Subscription/{one} is {status} with the channel {channel}; only active websocket subscriptions can be bound"
        raise Unprocessable(Issue("business-rule", text, "id"))
    return record


def _can_bind(record: Record) -> bool:
    subscription = record.subscription
    return subscription.channel.type.code == CHANNEL and subscription.status is SubscriptionStatus.ACTIVE


async def _issue(call: Call, records: list[Record]) -> Reply:
    ids = [record.subscription.id for record in records]
    secret, expires_ms = await call.services.tokens.issue(call.tenant, ids, LIFETIME_MS)
    url = f"ws{call.services.base_url.removeprefix('http')}/ws"
    parameters_out = [
        {"name": "token", "valueString": secret},
        {"name": "expiration", "valueDateTime": to_instant(expires_ms)},
        *({"name": "subscription", "valueString": one} for one in ids),
        {"name": "websocket-url", "valueUrl": url},
    ]
    body = orjson.dumps({"resourceType": "Parameters", "parameter": parameters_out})
    return Reply(body=body, headers={"Cache-Control": "no-store"})
