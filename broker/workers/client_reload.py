"""Reads the files of the registered clients again when a process was asked to (SIGHUP)."""

import asyncio

import structlog

from broker.delivery.cached_clients import CachedClients
from broker.errors import ConfigurationError, StoreUnavailable
from broker.services.clients import ClientService
from broker.store.client_changes import ClientChanges
from broker.tasks import work_until

_log = structlog.get_logger(__name__)
_RETRY_S = 0.5


class ClientReload:
    """One a process. A folder that cannot be loaded is logged, and the clients of before stay."""

    def __init__(self, clients: ClientService, changes: ClientChanges, cached: CachedClients) -> None:
        self._clients = clients
        self._changes = changes
        self._cached = cached

    async def run(self, stop: asyncio.Event) -> None:
        await work_until(stop, self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                async for _ in self._changes.follow():
                    await self._load()
            except StoreUnavailable as error:
                _log.warning("store unavailable", worker="clients", error=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _load(self) -> None:
        try:
            await self._clients.reload()
        except ConfigurationError as error:
            _log.error("clients not loaded; they stay as they were", error=str(error))
            return
        self._cached.forget()
        count = await self._clients.count()
        if count:
            _log.info("clients loaded", clients=count)
        else:
            _log.warning(
                "no client is registered, so nobody can use the broker; make an administrator with "
                "`fhir-broker clients add --dir`, in BROKER_CLIENTS_DIR, and send SIGHUP (docs/security.md)"
            )
