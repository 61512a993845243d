"""A broker of several processes on a store of its own, its producers and subscribers, and the history of what they do.

A scenario breaks something while `load` runs, has it `recovered`, and ends with `settle`: everything owed has arrived, or the time is
up. What that comes to says the checker, not the rig.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import httpx
import redis.asyncio as redis

from broker.testing.registration import register_subscription, subscription
from tests.faults.history import Fault, History, Recovered, Subscribed
from tests.faults.listener import Behaviour, Endpoint, accepting, now_ms
from tests.faults.processes import BrokerProcess, StoreProcess, kill_all
from tests.faults.producer import Producer
from tests.faults.proxy import StoreProxy
from tests.stores import StoreCluster

VITAL_SIGNS = "http://fhir-broker.org/topics/vital-signs"
SETTLE_S = 90.0
_POLL_S = 0.1


class Rig:
    """An async context manager; the numbers say how many processes of each role there are."""

    def __init__(
        self,
        folder: Path,
        *,
        api: int = 1,
        match: int = 1,
        dispatch: int = 1,
        has_proxy: bool = False,
        is_cluster: bool = False,
        environment: Mapping[str, str] = MappingProxyType({}),
        **settings: str,
    ) -> None:
        self.folder = folder
        self.history = History()
        self.store = StoreProcess(folder)
        self.cluster = StoreCluster(folder) if is_cluster else None
        self.proxy = StoreProxy(folder, self.store.path) if has_proxy else None
        url = self.cluster.url if self.cluster else self.proxy.url if self.proxy else self.store.url
        shared: dict[str, Any] = {"environment": environment, "redis_url": url, **settings}
        first = BrokerProcess("api", folder, "api0", **shared)
        others = shared | {"base_url": first.base}
        self.api = [first, *(BrokerProcess("api", folder, f"api{n}", **others) for n in range(1, api))]
        self.match = [BrokerProcess("match", folder, f"match{n}", **others) for n in range(match)]
        self.dispatch = [BrokerProcess("dispatch", folder, f"dispatch{n}", **others) for n in range(dispatch)]
        self.producer = Producer(self.history, [one.base for one in self.api])
        self.endpoints: dict[str, Endpoint] = {}
        self.subscriptions: dict[str, str] = {}
        self.figures: dict[str, float] = {}
        """What a scenario measured beyond times, by what it is (with its unit)."""
        self._patients: dict[str, Subscribed] = {}
        self._stack = contextlib.AsyncExitStack()

    @property
    def brokers(self) -> list[BrokerProcess]:
        return [*self.api, *self.match, *self.dispatch]

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.history.file = stack.enter_context((self.folder / "history.jsonl").open("w"))
            stack.callback(kill_all, [self.store, *self.brokers])
            if self.cluster is None:
                await self.store.start()
            else:
                stack.callback(self.cluster.kill)
                await self.cluster.start()
            if self.proxy is not None:
                await stack.enter_async_context(self.proxy)
            for one in self.brokers:
                one.spawn()
            await asyncio.gather(*(one.ready() for one in self.brokers))
            await stack.enter_async_context(self.producer)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator["redis.Redis | redis.RedisCluster"]:
        """A client of the store, as a gateway has one that writes to the inbox stream."""
        client: redis.Redis | redis.RedisCluster
        if self.cluster is None:
            client = redis.Redis.from_url(self.store.url)
        else:
            client = redis.RedisCluster(host="127.0.0.1", port=self.cluster.nodes[0].port)
        try:
            yield client
        finally:
            await client.aclose()

    def client(self) -> httpx.AsyncClient:
        headers = {"Content-Type": "application/fhir+json"}
        return httpx.AsyncClient(base_url=self.api[0].base, headers=headers, timeout=20, trust_env=False)

    async def subscribe(
        self,
        name: str,
        *patients: str,
        behaviour: Behaviour = accepting,
        tls: ssl.SSLContext | None = None,
        **options: Any,
    ) -> Endpoint:
        """An endpoint of that name, subscribed to these patients, active when this returns."""
        endpoint = Endpoint(name, self.history, tls)
        endpoint.behaviour = behaviour
        await self._stack.enter_async_context(endpoint)
        filters = [f"patient={','.join(f'Patient/{one}' for one in patients)}"]
        document = subscription(
            "r4", VITAL_SIGNS, endpoint.url, content="full-resource", filters=filters, **options
        )
        async with self.client() as client:
            self.subscriptions[name] = (await register_subscription(client, "/r4", document))["id"]
        self.endpoints[name] = endpoint
        await self.until_active(name, patients)
        return endpoint

    async def until_active(self, name: str, patients: Sequence[str], within_s: float = 20.0) -> None:
        await self.until_status(name, "active", within_s)
        self._patients[name] = Subscribed(name, tuple(patients), now_ms())
        self.history.add(self._patients[name])

    async def until_status(self, name: str, status: str, within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s), self.client() as client:
            while await self._status(client, name) != status:  # noqa: ASYNC110 it is asked over HTTP
                await asyncio.sleep(_POLL_S)

    async def _status(self, client: httpx.AsyncClient, name: str) -> str:
        with contextlib.suppress(httpx.TransportError):
            response = await client.get(f"/r4/Subscription/{self.subscriptions[name]}")
            if response.status_code == 200:
                return str(response.json()["status"])
        return ""

    async def change_subscription(self, name: str, endpoint_url: str | None = None) -> None:
        """Asks for the subscription anew, as a client does to leave `error` or `off`; the address may be another."""
        path = f"/r4/Subscription/{self.subscriptions[name]}"
        async with self.client() as client:
            document = (await client.get(path)).json() | {"status": "requested"}
            if endpoint_url is not None:
                document["channel"] |= {"endpoint": endpoint_url}
            response = await client.put(path, json=document)
            assert response.status_code == 200, response.text

    @contextlib.asynccontextmanager
    async def load(self, patients: Sequence[str], *, per_s: float) -> AsyncIterator[None]:
        """Changes of these patients, `per_s` of all together, while it is entered; on the way out each lane ends its change."""
        is_over = asyncio.Event()
        async with asyncio.TaskGroup() as lanes:
            for patient in patients:
                lanes.create_task(
                    self.producer.lane(patient, per_s=per_s / len(patients), until=is_over.is_set)
                )
            try:
                yield
            finally:
                is_over.set()

    def fault(self, name: str, *, can_repeat: bool = True) -> None:
        self.history.add(Fault(name, now_ms(), can_repeat))

    async def recovered(self, name: str, *endpoints: Endpoint, within_s: float = 60.0) -> float:
        """Call when what was broken works again: the seconds until each of the endpoints has taken something new."""
        begun = now_ms()
        for one in endpoints or self.endpoints.values():
            arrived = await one.until(lambda: one.last_taken_ms > begun, within_s)  # noqa: B023 used at once
            assert arrived, f"{name}: {one.name} heard nothing for {within_s} s"
        after_s = (now_ms() - begun) / 1000
        self.history.add(Recovered(name, after_s, now_ms()))
        return after_s

    def is_waiting(self, endpoint: Endpoint) -> bool:
        """Whether there is an acknowledged change that the endpoint is owed and has not taken."""
        subscribed = self._patients[endpoint.name]
        return any(
            one.at_ms >= subscribed.at_ms and one.change not in endpoint.taken
            for patient in subscribed.patients
            for one in self.producer.acknowledged.get(patient, ())
        )

    async def settle(self, within_s: float = SETTLE_S) -> bool:
        """Waits until nothing is outstanding anywhere; False if the time runs out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while any(map(self.is_waiting, self.endpoints.values())):  # noqa: ASYNC110 of many endpoints
                    await asyncio.sleep(_POLL_S)
                return True
        return False

    def logs(self) -> Iterator[Path]:
        """What is worth keeping of a run that failed."""
        yield self.folder / "history.jsonl"
        yield from self.folder.glob("*.log")
