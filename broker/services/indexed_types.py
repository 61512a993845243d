"""The types of a tenant whose resources are in the search sets, for histories and exports."""

from broker.errors import IndexIncomplete, Issue, MethodNotAllowed
from broker.matching.search_index import SearchIndex
from broker.model.change import Tenant
from broker.model.release import Release
from broker.services.search_plan import IndexedType
from broker.store.protocol import Store
from broker.store.resources import Resources
from broker.store.scripts import search
from broker.store.search_builds import SearchBuilds
from broker.store.search_sets import SearchSets, stored_types

_RETRY_AFTER_S = 5


class IndexedTypes:
    """The sets of each type. Those of a type that is not indexed, or not yet completely, are not given out:
    they would not have every resource.
    """

    def __init__(self, store: Store, resources: Resources, index: SearchIndex, builds: SearchBuilds) -> None:
        self._store = store
        self._resources = resources
        self._index = index
        self._builds = builds

    def is_indexed(self, resource_type: str) -> bool:
        """Whether the settings ask for indexes of the type."""
        return self._index.definitions(resource_type) is not None

    async def sets_of(self, tenant: Tenant, resource_type: str) -> SearchSets:
        """Raises `MethodNotAllowed` for a type that is not indexed, `IndexIncomplete` while it is."""
        if not self.is_indexed(resource_type):
            text = (
                f"This broker keeps no index of {resource_type}. Ask the administrator of the broker to add "
                "the type to BROKER_SEARCH_INDEXES."
            )
            raise MethodNotAllowed(Issue("not-supported", text))
        if not await self._builds.is_complete(resource_type):
            text = f"The search indexes of {resource_type} are being built. Retry the request."
            raise IndexIncomplete(text, retry_after_s=_RETRY_AFTER_S)
        return SearchSets(self._store, self._resources, tenant, resource_type)

    async def all_of(self, tenant: Tenant) -> dict[str, SearchSets]:
        """By type, of all indexed types with resources. Raises `IndexIncomplete`."""
        names = sorted(await stored_types(self._store, tenant))
        return {name: await self.sets_of(tenant, name) for name in names if self.is_indexed(name)}

    def indexed(self, release: Release, resource_type: str) -> IndexedType:
        """The type as a base searches it."""
        definitions = self._index.definitions(resource_type) or ()
        return IndexedType(resource_type, release, definitions, self._index.context)

    async def snapshot(self) -> int:
        """A moment: all that was written up to it is visible and durable, and nothing is added."""
        return await search.advance_read_moment(self._store)
