"""Lists the current versions of all resources of a type, for commands that look at what is stored.

Nothing else needs such a list, so there is no index for it: it looks at every key of the store and takes as
long as the store is large. Brokers may run meanwhile.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from broker.model.change import Tenant, Version, VersionKey
from broker.store.bodies import Bodies
from broker.store.protocol import Command, ScanPlace, Store
from broker.store.resources import read_stored, unpack


class ListedResource(NamedTuple):
    """`Type/id` and its current version; None for one that cannot be read."""

    reference: str
    version: Version | None


class StoredTypes:
    """`bodies` open the texts."""

    def __init__(self, store: Store, bodies: Bodies) -> None:
        self._store = store
        self._bodies = bodies

    async def of_type(self, tenant: Tenant, resource_type: str) -> AsyncIterator[ListedResource]:
        """Those that exist during the whole call, each once and in no order; of others some. No deletions.

        Raises `StoreUnavailable` if the key of a sealed one is missing.
        """
        seen: set[bytes] = set()  # a scan may give a key again
        place: ScanPlace | None = ScanPlace()
        while place is not None:
            place, names = await self._store.scan_keys(f"{{p*}}:resource:{tenant}:{resource_type}/*", place)
            fresh = [name for name in dict.fromkeys(names) if _is_current(name) and name not in seen]
            seen.update(fresh)
            commands: list[Command] = [("GET", name) for name in fresh]
            replies = await self._store.send(commands) if commands else []
            for name, content in zip(fresh, replies, strict=True):
                resource_id = name.rpartition(b"/")[2].decode()
                if content is not None:
                    listed = self._listed(tenant, resource_type, resource_id, content)
                    if listed.version is None or listed.version.resource is not None:
                        yield listed

    def _listed(self, tenant: Tenant, resource_type: str, resource_id: str, content: bytes) -> ListedResource:
        reference = f"{resource_type}/{resource_id}"
        try:
            stored = read_stored(content)
            key = VersionKey(tenant, resource_type, resource_id, stored.number)
            return ListedResource(reference, unpack(key, stored, self._bodies))
        except ValueError:
            return ListedResource(reference, None)


def _is_current(name: bytes) -> bool:
    """Whether the key is that of a current version: a superseded one has its number behind another slash."""
    return name.count(b"/") == 1 and not name.endswith(b":event")
