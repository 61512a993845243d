"""Scripts on the subscription document: register, replace its secrets, and mark as erroneous."""

from typing import NamedTuple

from broker.model.audit import Requester
from broker.model.subscription import SubscriptionId, SubscriptionKey
from broker.store import attempt_keys, audit_keys, keys
from broker.store.audit_blocks import encode_change
from broker.store.protocol import ScriptCall, Store, WriteConcern
from broker.store.records import RegistrationRequest, encode
from broker.store.write_group import WriteGroup


class WriteReply(NamedTuple):
    """What became of a write of a document: the status, the version it is about and the moment."""

    status: str
    version: int
    at_ms: int


async def register_subscription(
    store: Store, group: WriteGroup, registration: RegistrationRequest, model: bytes, requester: Requester
) -> WriteReply:
    """Creates, replaces or deletes a subscription, together with others, and records it in the audit trail.

    Durable when it returns.
    """
    tenant, subscription_id = registration.tenant, SubscriptionId(registration.id)
    shard = store.layout.shard_of(tenant, subscription_id)
    call = ScriptCall(
        "register_subscription",
        [
            keys.subscription(shard, tenant, subscription_id),
            keys.members(shard, tenant),
            keys.tenants(shard),
            keys.due(shard),
            keys.registry(shard),
            keys.outbox(shard, tenant, subscription_id),
            keys.dead_events(shard, tenant, subscription_id),
            keys.dead_event_index(shard, tenant),
            keys.shard_counters(shard),
            keys.deleted_subscription(shard, tenant, subscription_id),
            keys.owned(shard, tenant),
            audit_keys.audit_of_shard(shard, tenant),
            *attempt_keys.of_subscription(shard, (tenant, subscription_id)),
        ],
        [encode(registration), model, encode_change(requester, "Subscription", subscription_id, "")],
    )
    status, version, at_ms = await group.run(call)
    return WriteReply(status.decode(), int(version), int(at_ms))


class Secrets(NamedTuple):
    """What a subscription has sealed: its model, with the sealed headers, and its signing secrets (b'' for
    none).
    """

    model: bytes
    signing: bytes


async def replace_secrets(
    store: Store, subscription: SubscriptionKey, before: Secrets, after: Secrets, secrets_id: str = ""
) -> bool:
    """Stores the secrets; False if others were stored since `before` was read. Durable when it returns.

    `secrets_id` names new signing secrets.
    """
    shard = store.layout.shard_of(*subscription)
    call = ScriptCall(
        "replace_secrets", [keys.subscription(shard, *subscription)], [*before, *after, secrets_id]
    )
    return bool(await store.run(call, WriteConcern.DURABLE))


async def end_access(
    store: Store, subscription: SubscriptionKey, revision: str, reason: str
) -> tuple[bool, tuple[int, int] | None]:
    """Turns a subscription off and gives up what waits; False if it was stored again or was off already.

    Then the first and last number of the gap, if there is one.
    """
    shard = store.layout.shard_of(*subscription)
    script_keys = [
        keys.subscription(shard, *subscription),
        keys.outbox(shard, *subscription),
        keys.due(shard),
        keys.registry(shard),
        keys.shard_counters(shard),
    ]
    call = ScriptCall("end_access", script_keys, [keys.member(*subscription), revision, reason])
    has_ended, *gap = await store.run(call, WriteConcern.REPLICATED)
    return bool(has_ended), (int(gap[0]), int(gap[1])) if gap else None


async def mark_error(store: Store, subscription: SubscriptionKey, revision: str, reason: str) -> bool:
    """Sets a subscription to `error`; False if it was stored again, or is not active or requested."""
    shard = store.layout.shard_of(*subscription)
    script_keys = [
        keys.subscription(shard, *subscription),
        keys.due(shard),
        keys.registry(shard),
        keys.shard_counters(shard),
    ]
    call = ScriptCall("mark_error", script_keys, [keys.member(*subscription), revision, reason])
    return bool(await store.run(call))
