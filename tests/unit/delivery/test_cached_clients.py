"""Clients are kept for a few seconds, and read again when they have changed."""

from broker.delivery.cached_clients import CACHE_S, CachedClients
from broker.model.change import DEFAULT_TENANT
from broker.security.clients import Client


class Registry:
    def __init__(self) -> None:
        self.reads = 0

    async def find(self, client_id: str) -> Client | None:
        self.reads += 1
        return Client(client_id, str(self.reads), DEFAULT_TENANT, frozenset(), frozenset())


async def test_a_client_is_read_again_after_its_time_and_after_a_change() -> None:
    now_s = 100.0
    registry = Registry()
    clients = CachedClients(registry, lambda: now_s)

    async def name() -> str:
        client = await clients.find("ward")
        assert client is not None
        return client.name

    assert [await name(), await name()] == ["1", "1"]
    now_s += CACHE_S
    assert await name() == "2"
    clients.forget()
    assert [await name(), await name()] == ["3", "3"]
    for _ in range(10):  # a use does not make it last longer
        now_s += CACHE_S / 8
        await name()
    assert registry.reads == 4
