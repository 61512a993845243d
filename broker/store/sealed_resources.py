"""The sealed texts of resources in a store: counted and sealed again by `fhir-broker key-ring`.

It reads every resource, so it takes as long as the store is large. Brokers may run meanwhile.
"""

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from broker.model.change import Tenant
from broker.store import keys
from broker.store.bodies import SEALED
from broker.store.protocol import Command, ScanPlace, Store
from broker.store.resources import read_stored
from broker.store.scripts import intake
from broker.store.sealed_texts import change_all

_PATTERN = "{p*}:resource:*"


class SealedText(NamedTuple):
    """A sealed text: the key of its string, what the string has before it, and what it belongs to."""

    name: str
    head: bytes
    text: bytes
    tenant: Tenant
    reference: str


Change = Callable[[SealedText], bytes]
"""The text to store in place of it."""


class SealedResources:
    """Of all tenants, superseded versions too."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def all(self) -> AsyncIterator[SealedText]:
        """A version that is superseded meanwhile may come twice, or not at all."""
        place: ScanPlace | None = ScanPlace()
        while place is not None:
            place, names = await self._store.scan_keys(_PATTERN, place)
            wanted = [name for name in names if not name.endswith(b":event")]
            commands: list[Command] = [("GET", name) for name in wanted]
            replies = await self._store.send(commands) if commands else []
            for name, content in zip(wanted, replies, strict=True):
                if content is not None and (text := read_stored(content).text).startswith(SEALED):
                    head = content[: len(content) - len(text)]
                    yield SealedText(name.decode(), head, text, *keys.resource_of(name))

    async def change_all(self, change: Change) -> int:
        """Replaces what `change` changes; how many texts those were."""
        return await change_all(self.all, change, self._replace)

    async def _replace(self, sealed: SealedText, text: bytes) -> int:
        before, after = sealed.head + sealed.text, sealed.head + text
        return await intake.replace_resource(self._store, sealed.name, before, after)
