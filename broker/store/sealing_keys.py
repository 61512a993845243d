"""The ids of the keys under which values in the store are sealed.

A process records a key before it first seals with it. So a start without the keys that the store needs is
refused, instead of failing at the first delivery. `fhir-broker key-ring drop` removes an id once nothing is
sealed under it.
"""

from broker.store import keys
from broker.store.protocol import Store


class SealingKeys:
    """Records a key once in the life of a process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recorded: set[str] = set()

    async def record(self, key_id: str) -> None:
        """Records that values are sealed under the key from now on."""
        if key_id not in self._recorded:
            await self._store.send([("SADD", keys.SEALING_KEYS, key_id)])
            self._recorded.add(key_id)

    async def all(self) -> frozenset[str]:
        (ids,) = await self._store.send([("SMEMBERS", keys.SEALING_KEYS)])
        return frozenset(key_id.decode() for key_id in ids)

    async def remove(self, key_id: str) -> None:
        """Nothing is sealed under the key any more."""
        await self._store.send([("SREM", keys.SEALING_KEYS, key_id)])
        self._recorded.discard(key_id)
