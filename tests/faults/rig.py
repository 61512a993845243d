"""The rig of a scenario: a broker of several processes with its own store, its producers, its subscribers and
the history.

A scenario injects a fault while `load` runs, waits with `until_recovered`, and ends with `settle`: everything
has arrived, or the time is up. The checker judges the history, not the rig.
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

from broker.testing.readings import HEART_RATE
from broker.testing.registration import register_subscription, subscription
from tests.faults.ehr_target import EhrTarget
from tests.faults.history import Fault, History, Recovery, SubscriptionActivated
from tests.faults.listener import Behaviour, Endpoint, accepting, now_ms
from tests.faults.processes import BrokerProcess, StoreProcess, kill_all
from tests.faults.producer import Producer
from tests.faults.proxy import StoreProxy
from tests.integration.fhir_write_fixture import write_subscription
from tests.store_cluster import StoreCluster

VITAL_SIGNS = "http://fhir-broker.org/topics/vital-signs"
SETTLE_S = 90.0
_POLL_S = 0.1


class Rig:
    """An async context manager. `api`, `match` and `dispatch` are the numbers of processes of each role."""

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
        self.cluster = StoreCluster(folder, cluster_node_timeout="1000") if is_cluster else None
        self.proxy = StoreProxy(folder, self.store.path) if has_proxy else None
        url = self.cluster.url if self.cluster else self.proxy.url if self.proxy else self.store.url
        shared: dict[str, Any] = {"environment": environment, "redis_url": url, **settings}
        first = BrokerProcess("api", folder, "api0", **shared)
        others = shared | {"base_url": first.base}
        self.api = [first, *(BrokerProcess("api", folder, f"api{n}", **others) for n in range(1, api))]
        self.match = [BrokerProcess("match", folder, f"match{n}", **others) for n in range(match)]
        self.dispatch = [BrokerProcess("dispatch", folder, f"dispatch{n}", **others) for n in range(dispatch)]
        self.producer = Producer(self.history, [process.base for process in self.api])
        self.endpoints: dict[str, Endpoint | EhrTarget] = {}
        self.subscriptions: dict[str, str] = {}
        self.figures: dict[str, float] = {}
        """What a scenario measured besides times: name with unit, and value."""
        self._patients: dict[str, SubscriptionActivated] = {}
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
            for process in self.brokers:
                process.spawn()
            await asyncio.gather(*(process.ready() for process in self.brokers))
            await stack.enter_async_context(self.producer)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for endpoint in self.endpoints.values():
            if isinstance(endpoint, EhrTarget):
                endpoint.record(self.history)
        await self._stack.__aexit__(kind, error, trace)

    @contextlib.asynccontextmanager
    async def store_client(self) -> AsyncIterator["redis.Redis | redis.RedisCluster"]:
        """A client of the store, like that of a gateway that writes to the inbox stream."""
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
        return httpx.AsyncClient(base_url=self.api[0].base, headers=headers, timeout=30, trust_env=False)

    async def subscribe(
        self,
        name: str,
        *patients: str,
        behaviour: Behaviour = accepting,
        tls: ssl.SSLContext | None = None,
        **options: Any,
    ) -> Endpoint:
        """Subscribes an endpoint to these patients and waits until the subscription is active."""
        endpoint = Endpoint(name, self.history, tls)
        endpoint.behaviour = behaviour
        await self._stack.enter_async_context(endpoint)
        filters = [f"patient={','.join(f'Patient/{patient}' for patient in patients)}"]
        document = subscription(
            "r4", VITAL_SIGNS, endpoint.url, content="full-resource", filters=filters, **options
        )
        async with self.client() as client:
            self.subscriptions[name] = (await register_subscription(client, "/r4", document))["id"]
        self.endpoints[name] = endpoint
        await self.until_active(name, patients)
        return endpoint

    async def write_to(self, target: EhrTarget, *patients: str, **options: Any) -> None:
        """Subscribes an EHR to these patients and waits until the subscription is active. The broker gets a
        Patient and a Device with an identifier for each of them.
        """
        filters = [f"patient={','.join(f'Patient/{patient}' for patient in patients)}"]
        document = write_subscription(endpoint=f"fhir-write:{target.name}", filters=filters, **options)
        async with self.client() as client:
            for patient in patients:
                for resource_type, resource_id in (
                    ("Patient", patient),
                    ("Device", f"{patient}-{HEART_RATE.codes[0][0]}"),
                ):
                    identifier = [{"system": "urn:rig", "value": resource_id}]
                    resource = {"resourceType": resource_type, "id": resource_id, "identifier": identifier}
                    response = await client.put(f"/r4/{resource_type}/{resource_id}", json=resource)
                    assert response.is_success, response.text
            self.subscriptions[target.name] = (await register_subscription(client, "/r4", document))["id"]
        self.endpoints[target.name] = target
        await self.until_active(target.name, patients)

    async def until_active(self, name: str, patients: Sequence[str], within_s: float = 60.0) -> None:
        await self.until_status(name, "active", within_s)
        self._patients[name] = SubscriptionActivated(name, tuple(patients), now_ms())
        self.history.add(self._patients[name])

    async def until_status(self, name: str, status: str, within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s), self.client() as client:
            while await self._status(client, name) != status:  # noqa: ASYNC110 the broker answers over HTTP
                await asyncio.sleep(_POLL_S)

    async def _status(self, client: httpx.AsyncClient, name: str) -> str:
        with contextlib.suppress(httpx.TransportError):
            response = await client.get(f"/r4/Subscription/{self.subscriptions[name]}")
            if response.status_code == 200:
                return str(response.json()["status"])
        return ""

    async def change_subscription(self, name: str, endpoint_url: str | None = None) -> None:
        """Requests the subscription again, as a client does to leave `error` or `off`, perhaps with another
        address.
        """
        path = f"/r4/Subscription/{self.subscriptions[name]}"
        async with self.client() as client:
            document = (await client.get(path)).json() | {"status": "requested"}
            if endpoint_url is not None:
                document["channel"] |= {"endpoint": endpoint_url}
            response = await client.put(path, json=document)
            assert response.status_code == 200, response.text

    @contextlib.asynccontextmanager
    async def load(self, patients: Sequence[str], *, per_s: float) -> AsyncIterator[None]:
        """Sends changes of these patients, `per_s` in total, while it is entered. On exit, each lane finishes
        its change.
        """
        stopped = asyncio.Event()
        async with asyncio.TaskGroup() as lanes:
            for patient in patients:
                lanes.create_task(
                    self.producer.lane(patient, per_s=per_s / len(patients), until=stopped.is_set)
                )
            try:
                yield
            finally:
                stopped.set()

    def fault(self, name: str, *, can_repeat: bool = True) -> None:
        self.history.add(Fault(name, now_ms(), can_repeat))

    async def until_recovered(
        self, name: str, *endpoints: Endpoint | EhrTarget, within_s: float = 60.0
    ) -> float:
        """Call this when a fault has ended. Waits until each endpoint has accepted something new; the seconds
        until then.
        """
        ended_ms = now_ms()
        for endpoint in endpoints or self.endpoints.values():
            arrived = await endpoint.until(lambda: endpoint.last_accepted_ms > ended_ms, within_s)  # noqa: B023 used at once
            assert arrived, f"{name}: {endpoint.name} received nothing for {within_s} s"
        after_s = (now_ms() - ended_ms) / 1000
        self.history.add(Recovery(name, after_s, now_ms()))
        return after_s

    def is_waiting(self, endpoint: Endpoint | EhrTarget) -> bool:
        """Whether the endpoint has not accepted an acknowledged change that it must receive."""
        subscribed, accepted = self._patients[endpoint.name], endpoint.accepted
        return any(
            request.at_ms >= subscribed.at_ms and request.change not in accepted
            for patient in subscribed.patients
            for request in self.producer.acknowledged.get(patient, ())
        )

    async def settle(self, within_s: float = SETTLE_S) -> bool:
        """Waits until no endpoint is waiting; False if the time runs out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while any(map(self.is_waiting, self.endpoints.values())):  # noqa: ASYNC110 polls many endpoints
                    await asyncio.sleep(_POLL_S)
                return True
        return False

    def logs(self) -> Iterator[Path]:
        """The files to keep of a failed run."""
        yield self.folder / "history.jsonl"
        yield from self.folder.glob("*.log")
