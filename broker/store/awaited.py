"""Messages to all processes about what was written that readings may wait for (`keys.AWAITED`)."""

from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

import msgspec

from broker.model.change import Tenant
from broker.store import keys
from broker.store.protocol import Store

_MESSAGE = msgspec.json.Decoder(tuple[str, list[str]])


class Written(NamedTuple):
    """What was written of a tenant, by name. No tenant, or no names: it may have been anything."""

    tenant: Tenant | None
    names: list[str]


class Awaited:
    """Of one store. A message is lost when nobody listens: who follows looks at everything at times."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: list[Callable[[Written], None]] = []

    def listen(self, listener: Callable[[Written], None]) -> None:
        """Calls `listener` with each announcement of this process, before it is sent: who writes a resource
        and then sends a reading to the same process meets what it wrote.
        """
        self._listeners.append(listener)

    async def announce(self, tenant: Tenant, names: list[str]) -> None:
        """Raises `StoreUnavailable`."""
        for listener in self._listeners:
            listener(Written(tenant, names))
        await self._store.send([("PUBLISH", keys.AWAITED, msgspec.json.encode((tenant, names)))])

    async def follow(self) -> AsyncGenerator[Written]:
        """Each message; and one about anything after each connection, because messages may have been missed.

        Raises `StoreUnavailable`.
        """
        async for message in self._store.subscribe(keys.AWAITED):
            if message is None:
                yield Written(None, [])
                continue
            tenant, names = _MESSAGE.decode(message.encode())
            yield Written(Tenant(tenant), names)
