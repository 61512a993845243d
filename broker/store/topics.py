"""Topics given through the API, for every process of every host; and the documents subscriptions were last known to be valid for."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from broker.model.resource import UnversionedResource
from broker.store import keys
from broker.store.resp_connection import Argument
from broker.store.server import Server, translating
from broker.store.subscriptions import Registration

Told = Literal["topics", "folder"]
"""What changed: stored topics, or the operator asks that folders be read again."""


@dataclass(frozen=True, slots=True)
class StoredTopic:
    """`document` is the SubscriptionTopic JSON with the version and time the store gave it."""

    id: str
    version: int
    updated_ms: int
    document: bytes


class Topics:
    """Keeps topics, and says when they change."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def put(
        self, topic_id: str, head: bytes, tail: bytes, *, create: bool, expected_version: str = ""
    ) -> tuple[Registration, int, int]:
        """Durable before it answers. Head and tail are those of `documents.split`."""
        return await self._write("create" if create else "put", topic_id, expected_version, head, tail)

    async def delete(self, topic_id: str, *, expected_version: str = "") -> tuple[Registration, int, int]:
        return await self._write("delete", topic_id, expected_version)

    async def _write(
        self, op: str, topic_id: str, expected_version: str, head: bytes = b"", tail: bytes = b""
    ) -> tuple[Registration, int, int]:
        told: Told = "topics"
        arguments: list[Argument] = [
            op,
            topic_id,
            uuid.uuid4().hex,
            expected_version,
            head,
            tail,
            keys.TOPICS_CHANGED,
            told,
        ]
        answers = await self._server.call_many("topic", [([keys.TOPICS], arguments)], durable=True)
        status, version, at_ms = answers[0]
        return Registration(cast("bytes", status).decode()), int(version), int(at_ms)

    @translating
    async def all(self) -> list[StoredTopic]:
        """By id."""
        held: Any = await self._server.client.hgetall(keys.TOPICS)
        return sorted((_stored(one.decode(), value) for one, value in held.items()), key=lambda one: one.id)

    @translating
    async def get(self, topic_id: str) -> StoredTopic | None:
        held: Any = await self._server.client.hget(keys.TOPICS, topic_id)
        return None if held is None else _stored(topic_id, held)

    @translating
    async def announce_folder(self) -> None:
        """Asks every process to read its folder of topics again."""
        told: Told = "folder"
        await self._server.client.publish(keys.TOPICS_CHANGED, told)

    async def changes(self) -> AsyncIterator[Told | None]:
        """What changed; None after each (re)connection: look for yourself."""
        async for message in self._server.listen(keys.TOPICS_CHANGED):
            yield None if message is None else "folder" if message == "folder" else "topics"

    @translating
    async def validated(self) -> dict[str, bytes]:
        """Canonical -> the document for which its subscriptions were last looked at."""
        held: Any = await self._server.client.hgetall(keys.TOPICS_VALIDATED)
        return {name.decode(): document for name, document in held.items()}

    @translating
    async def note_validated(self, documents: Mapping[str, bytes], gone: Sequence[str]) -> None:
        pipe = self._server.client.pipeline(transaction=False)
        if documents:
            pipe.hset(keys.TOPICS_VALIDATED, mapping=dict(documents.items()))
        if gone:
            pipe.hdel(keys.TOPICS_VALIDATED, *gone)
        await pipe.execute()


def _stored(topic_id: str, value: bytes) -> StoredTopic:
    line, _, rest = value.partition(b"\n")
    version, at_ms, _, length = line.decode().split(" ")
    unversioned = UnversionedResource(rest[: int(length)], rest[int(length) :])
    document = unversioned.with_version(int(version), int(at_ms)).text
    return StoredTopic(topic_id, int(version), int(at_ms), document)
