"""The script that stores and deletes topics."""

from typing import Literal

from broker.model.change import Tenant
from broker.model.precondition import VersionCondition
from broker.model.resource import UnversionedResource
from broker.store import keys
from broker.store.protocol import Argument, ScriptCall, Store, WriteConcern
from broker.store.scripts.subscriptions import WriteReply


async def write_topic(
    store: Store,
    op: Literal["create", "put", "delete"],
    tenant: Tenant,
    topic_id: str,
    request_id: str,
    *,
    condition: VersionCondition,
    document: UnversionedResource | None,
    message: str,
) -> WriteReply:
    """Stores or deletes a topic and publishes `message` to every process. Durable when it returns."""
    arguments: list[Argument] = [
        op,
        tenant,
        topic_id,
        request_id,
        condition.if_match,
        condition.if_none_match,
        document.tail if document else b"",
        keys.TOPICS_CHANGED,
        message,
    ]
    script_keys = [keys.topics(tenant), keys.TOPIC_TENANTS, keys.deleted_topics(tenant)]
    call = ScriptCall("write_topic", script_keys, arguments)
    status, version, at_ms = await store.run(call, WriteConcern.DURABLE)
    return WriteReply(status.decode(), int(version), int(at_ms))
