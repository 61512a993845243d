"""Gives a command all stored resources of a type. It connects to the store beside the processes that use it,
also to an embedded one.
"""

from collections.abc import Callable

from broker.app.secrets import open_key_ring, resource_bodies
from broker.app.stores import open_store
from broker.model.change import Tenant
from broker.settings import Settings
from broker.store.stored_types import ListedResource, StoredTypes


async def visit_type(
    settings: Settings, url: str, tenant: Tenant, resource_type: str, visit: Callable[[ListedResource], None]
) -> None:
    """Calls `visit` with each resource of the type."""
    async with open_store(settings, url) as store:
        bodies = resource_bodies(settings, store, await open_key_ring(settings, store))
        async for listed in StoredTypes(store, bodies).of_type(tenant, resource_type):
            visit(listed)
