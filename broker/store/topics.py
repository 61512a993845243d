"""Topics given through the API, for every process of every host; and the documents subscriptions were last known to be valid for."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from broker.model.resource import UnversionedResource
from broker.store import keys
from broker.store.protocol import Argument, Command, ScriptCall, Store, WriteConcern
from broker.store.replies import flatten, mapping_of
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

    def __init__(self, store: Store) -> None:
        self._store = store

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
        call = ScriptCall("topic", [keys.TOPICS], arguments)
        status, version, at_ms = await self._store.run(call, WriteConcern.DURABLE)
        return Registration(cast("bytes", status).decode()), int(version), int(at_ms)

    async def all(self) -> list[StoredTopic]:
        """By id."""
        (reply,) = await self._store.send([("HGETALL", keys.TOPICS)])
        return sorted(
            (_stored(one.decode(), value) for one, value in mapping_of(reply).items()), key=lambda one: one.id
        )

    async def get(self, topic_id: str) -> StoredTopic | None:
        (held,) = await self._store.send([("HGET", keys.TOPICS, topic_id)])
        return None if held is None else _stored(topic_id, held)

    async def announce_folder(self) -> None:
        """Asks every process to read its folder of topics again."""
        told: Told = "folder"
        await self._store.send([("PUBLISH", keys.TOPICS_CHANGED, told)])

    async def changes(self) -> AsyncIterator[Told | None]:
        """What changed; None after each (re)connection: look for yourself."""
        async for message in self._store.subscribe(keys.TOPICS_CHANGED):
            yield None if message is None else "folder" if message == "folder" else "topics"

    async def validated(self) -> dict[str, bytes]:
        """Canonical -> the document for which its subscriptions were last looked at."""
        (reply,) = await self._store.send([("HGETALL", keys.TOPICS_VALIDATED)])
        return {name.decode(): document for name, document in mapping_of(reply).items()}

    async def note_validated(self, documents: Mapping[str, bytes], gone: Sequence[str]) -> None:
        commands: list[Command] = []
        if documents:
            commands.append(("HSET", keys.TOPICS_VALIDATED, *flatten(documents)))
        if gone:
            commands.append(("HDEL", keys.TOPICS_VALIDATED, *gone))
        await self._store.send(commands)


def _stored(topic_id: str, value: bytes) -> StoredTopic:
    line, _, rest = value.partition(b"\n")
    version, at_ms, _, length = line.decode().split(" ")
    unversioned = UnversionedResource(rest[: int(length)], rest[int(length) :])
    document = unversioned.with_version(int(version), int(at_ms)).text
    return StoredTopic(topic_id, int(version), int(at_ms), document)
