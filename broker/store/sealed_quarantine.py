"""The sealed texts of quarantined readings in a store: counted and sealed again by `fhir-broker key-ring`.

It reads every quarantined reading. Brokers may run meanwhile.
"""

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from broker.model.change import Tenant
from broker.store import keys, stream_id
from broker.store.protocol import Command, Store
from broker.store.quarantined_payloads import PAGE, place_of
from broker.store.replies import entries_of
from broker.store.scripts import quarantine
from broker.store.sealed_texts import change_all


class SealedReading(NamedTuple):
    """A sealed text: its tenant, entry, what it is bound to besides the tenant, and itself."""

    tenant: Tenant
    entry: str
    place: str
    text: bytes


Change = Callable[[SealedReading], bytes]
"""The text to store in place of it."""


class SealedQuarantine:
    """Of all tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def all(self) -> AsyncIterator[SealedReading]:
        """One that is removed meanwhile may come, or not."""
        (names,) = await self._store.send([("SMEMBERS", keys.QUARANTINE_TENANTS)])
        for tenant in [Tenant(name.decode()) for name in sorted(names)]:
            bound = stream_id.FIRST
            while bound:
                command: Command = (
                    "XRANGE", keys.quarantine(tenant), bound, stream_id.LAST, "COUNT", PAGE,
                )  # fmt: skip
                rows = entries_of((await self._store.send([command]))[0])
                bound = stream_id.after(rows[-1][0]) if len(rows) == PAGE else ""
                sealed = [(entry, fields[b"sealed"]) for entry, fields in rows if b"sealed" in fields]
                if not sealed:
                    continue
                ids = [entry for entry, _ in sealed]
                (texts,) = await self._store.send([("HMGET", keys.sealed_readings(tenant), *ids)])
                for (entry, digest), text in zip(sealed, texts, strict=True):
                    if text is not None:
                        yield SealedReading(tenant, entry.decode(), place_of(digest.decode()), text)

    async def change_all(self, change: Change) -> int:
        """Replaces what `change` changes; how many texts those were."""
        return await change_all(self.all, change, self._replace)

    async def _replace(self, sealed: SealedReading, text: bytes) -> int:
        return await quarantine.replace_sealed_reading(
            self._store, sealed.tenant, sealed.entry, sealed.text, text
        )
