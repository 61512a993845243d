"""What receivers said about dead events, as far as it is sealed: counted and sealed again by
`fhir-broker key-ring`, as `sealed_resources.py` does for resources.
"""

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from broker.model.change import Tenant
from broker.model.subscription import SubscriptionId, SubscriptionKey
from broker.store import keys
from broker.store.bodies import SEALED
from broker.store.dead_events import DeadEvent, place
from broker.store.protocol import Store
from broker.store.scripts.dead_letters import replace_dead_event

_PAGE = 500


class SealedExplanation(NamedTuple):
    """A member with a sealed text."""

    subscription: SubscriptionKey
    member: bytes
    event: DeadEvent

    @property
    def text(self) -> bytes:
        return self.event.packed

    @property
    def tenant(self) -> Tenant:
        return self.subscription[0]

    @property
    def reference(self) -> str:
        """What the text is bound to."""
        return place(self.subscription, self.event.number)


Change = Callable[[SealedExplanation], bytes]
"""The text to store in place of it."""


class SealedExplanations:
    """Of all tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def all(self) -> AsyncIterator[SealedExplanation]:
        """A dead letter that comes meanwhile may be left out: it is sealed under the active key."""
        for shard in range(self._store.layout.shards):
            (tenants,) = await self._store.send([("SMEMBERS", keys.tenants(shard))])
            for tenant in map(_tenant_of, tenants):
                (ids,) = await self._store.send([("HKEYS", keys.dead_event_index(shard, tenant))])
                for subscription_id in ids:
                    async for sealed in self._of((tenant, SubscriptionId(subscription_id.decode())), shard):
                        yield sealed

    async def change_all(self, change: Change) -> int:
        """Replaces what `change` changes; how many texts those were."""
        changed = 0
        async for sealed in self.all():
            text = change(sealed)
            if text != sealed.text:
                number, after = sealed.event.number, sealed.event.with_packed(text)
                changed += await replace_dead_event(
                    self._store, sealed.subscription, number, sealed.member, after
                )
        return changed

    async def _of(self, subscription: SubscriptionKey, shard: int) -> AsyncIterator[SealedExplanation]:
        low = "-inf"
        while True:
            command = (
                "ZRANGEBYSCORE",
                keys.dead_events(shard, *subscription),
                low,
                "+inf",
                "LIMIT",
                0,
                _PAGE,
            )
            (members,) = await self._store.send([command])
            for member in members:
                event = DeadEvent.parse(member)
                low = f"({event.number}"
                if event.packed.startswith(SEALED):
                    yield SealedExplanation(subscription, member, event)
            if len(members) < _PAGE:
                return


def _tenant_of(name: bytes) -> Tenant:
    return Tenant(name.decode())
