"""The channel on which processes hear that registered clients have changed."""

from collections.abc import AsyncIterator

from broker.store import keys
from broker.store.protocol import Store


class ClientChanges:
    """Announces, and follows announcements."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def announce(self) -> None:
        """Asks every process to read the registered clients again. Raises `StoreUnavailable`."""
        await self._store.send([("PUBLISH", keys.CLIENTS_CHANGED, "clients")])

    async def follow(self) -> AsyncIterator[None]:
        """One None for each announcement, and after each (re)connection, when one may have been missed."""
        async for _ in self._store.subscribe(keys.CLIENTS_CHANGED):
            yield None
