"""A registered client as its administrators see it: keys with their age, scopes, and what limits it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from broker.clock import Clock
from broker.model.principal import Principal
from broker.security.clients import Registration
from broker.services.clients import ClientService, etag_of, keys_since
from broker.store.subscriptions import Subscriptions

_DAY_MS = 86_400_000


class ClientKey(NamedTuple):
    """A key. `since_ms` is when it was registered, None where that is not known; `days` is its age."""

    kid: str
    type: str
    since_ms: int | None
    days: int | None


class ClientQuota(NamedTuple):
    """What each client may have; 0: no limit."""

    max_subscriptions: int
    request_rate: int
    max_connections: int


@dataclass(frozen=True, slots=True)
class ClientDetails:
    """`subscriptions` counts those that it owns; `etag` is '' for a client of a file, which only its file
    changes.
    """

    registration: Registration
    keys: Sequence[ClientKey]
    scopes: Sequence[str]
    roles: Sequence[str]
    subscriptions: int
    quota: ClientQuota
    etag: str


class ClientDetailsService:
    """Clients of the principal's tenant."""

    def __init__(
        self, clients: ClientService, subscriptions: Subscriptions, quota: ClientQuota, clock: Clock
    ) -> None:
        self._clients = clients
        self._subscriptions = subscriptions
        self._quota = quota
        self._clock = clock

    async def page(self, principal: Principal, after: str, count: int) -> tuple[Sequence[Registration], str]:
        """The clients behind an id, and the id behind which there are more, '' for none."""
        registrations = await self._clients.all(principal.tenant)
        behind = [each for each in registrations if each.client.client_id > after]
        page = behind[:count]
        return page, page[-1].client.client_id if len(behind) > count else ""

    async def read(self, principal: Principal, client_id: str) -> ClientDetails:
        """Raises `NotFound`."""
        registration = await self._clients.get(principal.tenant, client_id)
        owned = await self._subscriptions.owned(principal.tenant, client_id)
        client = registration.client
        return ClientDetails(
            registration,
            self._keys(registration),
            sorted(map(str, client.scopes)),
            sorted(client.roles),
            owned.by_client,
            self._quota,
            "" if registration.is_file else etag_of(registration),
        )

    def _keys(self, registration: Registration) -> Sequence[ClientKey]:
        since, now_ms = keys_since(registration), self._clock.now_ms()
        keys = []
        for key in registration.client.keys:
            instant = since.get(key.kid)
            at_ms = None if instant is None else round(datetime.fromisoformat(instant).timestamp() * 1000)
            days = None if at_ms is None else max(0, now_ms - at_ms) // _DAY_MS
            keys.append(ClientKey(key.kid, key.kty, at_ms, days))
        return keys
