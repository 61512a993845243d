"""Topics that clients put through the API, by tenant, and the channel that notifies every process when they
change.

It also records which topic documents a tenant's subscriptions were last validated against
(`workers/topic_sync.py`).
"""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from broker.model.change import Tenant
from broker.model.precondition import UNCONDITIONAL, VersionCondition
from broker.model.resource import UnversionedResource
from broker.store import keys
from broker.store.protocol import Command, Store
from broker.store.replies import flatten, mapping_of
from broker.store.scripts import topics
from broker.store.subscriptions import Registration

TopicMessage = Literal["topics", "folder"]
"""What changed: stored topics; or an operator asks that every process reads its folder again."""


@dataclass(frozen=True, slots=True)
class StoredTopic:
    """`document` is the SubscriptionTopic JSON with the version and time that the store assigned."""

    id: str
    version: int
    updated_ms: int
    document: bytes


class Topics:
    """Stores topics, and reports when they change."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(
        self,
        tenant: Tenant,
        topic_id: str,
        document: UnversionedResource,
        *,
        create: bool,
        condition: VersionCondition = UNCONDITIONAL,
    ) -> tuple[Registration, int, int]:
        """Stores a topic; returns what happened, the version, and the moment. Durable when it returns."""
        op: Literal["create", "put"] = "create" if create else "put"
        return await self._write(op, tenant, topic_id, condition, document)

    async def delete(
        self, tenant: Tenant, topic_id: str, *, condition: VersionCondition = UNCONDITIONAL
    ) -> tuple[Registration, int, int]:
        return await self._write("delete", tenant, topic_id, condition, None)

    async def _write(
        self,
        op: Literal["create", "put", "delete"],
        tenant: Tenant,
        topic_id: str,
        condition: VersionCondition,
        document: UnversionedResource | None,
    ) -> tuple[Registration, int, int]:
        message: TopicMessage = "topics"
        reply = await topics.write_topic(
            self._store,
            op,
            tenant,
            topic_id,
            uuid.uuid4().hex,
            condition=condition,
            document=document,
            message=message,
        )
        return Registration(reply.status), reply.version, reply.at_ms

    async def all(self, tenant: Tenant) -> list[StoredTopic]:
        """The tenant's topics by id."""
        (reply,) = await self._store.send([("HGETALL", keys.topics(tenant))])
        stored = [_stored(topic_id.decode(), value) for topic_id, value in mapping_of(reply).items()]
        return sorted(stored, key=lambda topic: topic.id)

    async def get(self, tenant: Tenant, topic_id: str) -> StoredTopic | None:
        (value,) = await self._store.send([("HGET", keys.topics(tenant), topic_id)])
        return None if value is None else _stored(topic_id, value)

    async def is_deleted(self, tenant: Tenant, topic_id: str) -> bool:
        """Whether the topic was put through the API and deleted."""
        (version,) = await self._store.send([("HGET", keys.deleted_topics(tenant), topic_id)])
        return version is not None

    async def tenants(self) -> list[Tenant]:
        """The tenants that have topics."""
        (reply,) = await self._store.send([("SMEMBERS", keys.TOPIC_TENANTS)])
        return sorted(Tenant(tenant.decode()) for tenant in reply)

    async def announce_folders(self) -> None:
        """Asks every process to read its folders of topics and profiles again."""
        message: TopicMessage = "folder"
        await self._store.send([("PUBLISH", keys.TOPICS_CHANGED, message)])

    async def changes(self) -> AsyncIterator[TopicMessage | None]:
        """What changed; None after each (re)connection, when messages may have been missed."""
        async for message in self._store.subscribe(keys.TOPICS_CHANGED):
            yield None if message is None else "folder" if message == "folder" else "topics"

    async def validated(self, tenant: Tenant) -> dict[str, bytes]:
        """Canonical -> the document against which the tenant's subscriptions were last validated."""
        (reply,) = await self._store.send([("HGETALL", keys.validated_topics(tenant))])
        return {canonical.decode(): document for canonical, document in mapping_of(reply).items()}

    async def record_validated(
        self, tenant: Tenant, documents: Mapping[str, bytes], removed: Sequence[str]
    ) -> None:
        """Records the documents of `validated`; `removed` are canonicals that are not served any more."""
        commands: list[Command] = []
        if documents:
            commands.append(("HSET", keys.validated_topics(tenant), *flatten(documents)))
        if removed:
            commands.append(("HDEL", keys.validated_topics(tenant), *removed))
        await self._store.send(commands)


def _stored(topic_id: str, value: bytes) -> StoredTopic:
    line, _, text = value.partition(b"\n")
    version, at_ms, _ = line.decode().split(" ")
    unversioned = UnversionedResource("SubscriptionTopic", topic_id, text)
    document = unversioned.with_version(int(version), int(at_ms)).text
    return StoredTopic(topic_id, int(version), int(at_ms), document)
