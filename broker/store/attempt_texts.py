"""What was sent and answered in attempts, across subscriptions: erasure looks for a person in it, and
`fhir-broker key-ring` seals it again.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from broker.model.change import Tenant
from broker.model.notification import Event
from broker.model.subscription import SubscriptionKey
from broker.store import attempt_keys, keys, stream_id
from broker.store.attempt_records import DEFAULT_LIMITS, attempt_id, place
from broker.store.attempts import Attempts
from broker.store.bodies import SEALED
from broker.store.protocol import Command, Store
from broker.store.records import event_of
from broker.store.replies import mapping_of
from broker.store.scripts import attempts as scripts
from broker.store.sealed_texts import change_all
from broker.store.subscription_ids import SubscriptionIds


class StoredText(NamedTuple):
    """The packed text of an attempt, which the field `name` of its subscription's hash has."""

    subscription: SubscriptionKey
    name: bytes
    text: bytes

    @property
    def tenant(self) -> Tenant:
        return self.subscription[0]

    @property
    def attempt_id(self) -> str:
        """The id of the attempt."""
        name = self.name.decode()
        return attempt_id(name[0], name[1:])

    @property
    def reference(self) -> str:
        """What the text is bound to."""
        return place(self.subscription)


Change = Callable[[StoredText], bytes]
"""The text to store in place of it."""


class AttemptTexts:
    """Reads, removes and replaces."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def all(self, tenants: Sequence[Tenant] | None = None) -> AsyncIterator[StoredText]:
        """The texts of some tenants, or of all."""
        for shard in range(self._store.layout.shards):
            async for page in SubscriptionIds(self._store).in_shard(shard, tenants):
                commands: list[Command] = [
                    ("HKEYS", attempt_keys.of_subscription(shard, subscription).texts)
                    for subscription in page
                ]
                for subscription, names in zip(page, await self._store.send(commands), strict=True):
                    if names:
                        async for text in self._of(shard, subscription):
                            yield text

    async def _of(self, shard: int, subscription: SubscriptionKey) -> AsyncIterator[StoredText]:
        command = ("HGETALL", attempt_keys.of_subscription(shard, subscription).texts)
        for name, text in mapping_of((await self._store.send([command]))[0]).items():
            yield StoredText(subscription, name, text)

    async def events_of(self, stored: StoredText) -> Sequence[Event] | None:
        """The events that the attempt was about; None if they are not all known any more."""
        attempt = await Attempts(self._store, DEFAULT_LIMITS).find(stored.subscription, stored.attempt_id)
        if attempt is None:
            return None
        if not attempt.last_event:
            return ()
        outbox = keys.outbox(self._store.layout.shard_of(*stored.subscription), *stored.subscription)
        bounds = stream_id.of_event(attempt.first_event), stream_id.of_event(attempt.last_event)
        (entries,) = await self._store.send([("XRANGE", outbox, *bounds)])
        events = [event_of(stored.tenant, entry_id, flat) for entry_id, flat in entries]
        is_complete = len(events) == attempt.last_event - attempt.first_event + 1
        return events if is_complete else None

    async def remove(self, texts: Sequence[StoredText]) -> None:
        layout = self._store.layout
        commands: list[Command] = [
            (
                "HDEL",
                attempt_keys.of_subscription(layout.shard_of(*each.subscription), each.subscription).texts,
                each.name,
            )
            for each in texts
        ]
        if commands:
            await self._store.send(commands)

    async def sealed(self) -> AsyncIterator[StoredText]:
        """Those that are sealed, of all tenants."""
        async for stored in self.all():
            if stored.text.startswith(SEALED):
                yield stored

    async def change_all(self, change: Change) -> int:
        """Replaces what `change` changes among those that are sealed; how many texts those were."""
        return await change_all(self.sealed, change, self._replace)

    async def _replace(self, stored: StoredText, text: bytes) -> int:
        return await scripts.replace_text(self._store, stored.subscription, stored.name, stored.text, text)
