"""The load of a soak: everything that users do with a broker, repeated by actors until they are told to stop.

Readings are created, updated and deleted; patients are updated; subscriptions are registered, changed and
deleted; an endpoint fails and comes back, and its subscription is requested again after it was given up;
websocket and event-stream clients come and go, some without goodbye; the inbox gets valid and refused
entries; business events are reported; operators read, search and discard dead letters. `clean` removes what
would stay.
"""

import asyncio
import contextlib
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import redis.asyncio as redis
import websockets

from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from broker.testing.subscriber import Answer, SimulatedSubscriber

VITAL_SIGNS = "http://fhir-broker.org/topics/vital-signs"
ADMISSION = "http://fhir-broker.org/topics/admission"
PATIENTS = 20
_ENCOUNTERS = 5
_AT = "2026-03-01T08:00:00Z"
_DOWN_S = 2.0
_READ_S = 1.0


@dataclass(slots=True)
class Load:
    """The actors. `done` counts their steps by name; `failed` has the unexpected answers."""

    client: httpx.AsyncClient
    subscriber: SimulatedSubscriber
    store: redis.Redis
    per_s: float
    done: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _random: random.Random = field(default_factory=lambda: random.Random(1))
    _down_until: float = 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All actors work while it is entered; on exit each finishes its step."""
        stop = asyncio.Event()
        self.subscriber.endpoint("failing").answer = self._answer_or_fail
        failing = await self._register(self._rest_hook("failing"))
        await self._register(subscription("r5", ADMISSION, self.subscriber.url("admissions")))
        lanes: list[tuple[str, Callable[[], Awaitable[None]], float]] = [
            ("patients", self._patient, 0.5),
            ("subscriptions", self._subscription, 2.5),
            ("failing endpoint", lambda: self._failing(failing), 5.0),
            ("websockets", self._websocket, 2.5),
            ("event streams", self._event_stream, 2.5),
            ("inbox entries", self._inbox, 0.2),
            ("dead letters discarded", self._discard, 1.0),
            ("business events", self._business_event, 0.5),
            ("reads", self._read, 1.0),
            ("forgotten", self._forget, 1.0),
        ]
        readers = max(1, round(self.per_s / 5))
        lanes += [("readings", self._reading, readers / self.per_s)] * readers
        async with asyncio.TaskGroup() as tasks:
            for name, step, period_s in lanes:
                tasks.create_task(self._repeat(name, step, period_s, stop))
            try:
                yield
            finally:
                stop.set()

    async def _repeat(
        self, name: str, step: Callable[[], Awaitable[None]], period_s: float, stop: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not stop.is_set():
            try:
                await step()
                self.done[name] += 1
            except (AssertionError, httpx.HTTPError, OSError, websockets.WebSocketException) as error:
                self.failed.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
            due = max(due + period_s, loop.time())  # a steady rate, as long as the machine keeps up
            await asyncio.sleep(due - loop.time())

    async def clean(self) -> None:
        """Deletes what stays until it is deleted, and discards the dead letters."""
        while entries := (await self._request("GET", "/r5/Subscription?_count=100", 200)).json().get("entry"):
            for entry in entries:
                path = f"/r5/Subscription/{entry['resource']['id']}"
                await self._request("DELETE", path, 200, 204, 404)
        for n in range(PATIENTS):
            await self._request("DELETE", f"/r5/Patient/p{n}", 200, 204, 404)
        for n in range(_ENCOUNTERS):
            await self._request("DELETE", f"/r5/Encounter/e{n}", 200, 204, 404)
        await self._discard()

    async def _request(self, method: str, path: str, *expected: int, **more: Any) -> httpx.Response:
        response = await self.client.request(method, path, **more)
        assert response.status_code in expected, f"{method} {path}: {response.status_code} {response.text}"
        return response

    def _patient_id(self) -> str:
        return f"p{self._random.randrange(PATIENTS)}"

    async def _reading(self) -> None:
        n = next(self._numbers)
        body = observation(HEART_RATE, self._patient_id(), _AT, 55 + n % 75)
        headers = {"Idempotency-Key": f"soak-{n}"}
        created = await self._request("POST", "/r4/Observation", 201, json=body, headers=headers)
        if n % 5 == 0:
            path = f"/r4/Observation/{created.json()['id']}"
            await self._request("PUT", path, 200, json=created.json() | {"status": "amended"})
            if n % 10 == 0:
                await self._request("DELETE", path, 200, 204)

    async def _patient(self) -> None:
        patient = self._patient_id()
        body = {
            "resourceType": "Patient",
            "id": patient,
            "identifier": [{"system": "urn:example:soak", "value": f"{patient}-{next(self._numbers)}"}],
            "name": [{"family": f"Family{next(self._numbers)}"}],
        }
        await self._request("PUT", f"/r4/Patient/{patient}", 200, 201, json=body)

    def _rest_hook(self, endpoint: str, **more: Any) -> dict[str, Any]:
        filters = [f"patient=Patient/{self._patient_id()}"]
        return subscription("r5", VITAL_SIGNS, self.subscriber.url(endpoint), filters=filters, **more)

    async def _register(self, document: dict[str, Any]) -> str:
        return str((await self._request("POST", "/r5/Subscription", 201, json=document)).json()["id"])

    async def _subscription(self) -> None:
        document = self._rest_hook("prompt", content="full-resource", heartbeat_s=60)
        subscription_id = await self._register(document)
        path = f"/r5/Subscription/{subscription_id}"
        await asyncio.sleep(self._random.uniform(0, _READ_S))
        document = (await self._request("GET", path, 200)).json()
        await self._request("PUT", path, 200, json=document | {"status": "requested", "reason": "changed"})
        await asyncio.sleep(self._random.uniform(0, _READ_S))
        await self._request("DELETE", path, 200, 204)

    async def _answer_or_fail(self, _body: bytes) -> Answer:
        is_down = asyncio.get_running_loop().time() < self._down_until
        return Answer(503 if is_down else 200)

    async def _failing(self, subscription_id: str) -> None:
        """The endpoint goes down for a while; its subscription is requested again if it was given up."""
        self._down_until = asyncio.get_running_loop().time() + self._random.uniform(0, 2 * _DOWN_S)
        await asyncio.sleep(2 * _DOWN_S)
        path = f"/r5/Subscription/{subscription_id}"
        document = (await self._request("GET", path, 200)).json()
        if document["status"] in {"error", "off"}:
            await self._request("PUT", path, 200, json=document | {"status": "requested"})

    async def _connected(self, channel: dict[str, str]) -> str:
        document = subscription("r5", VITAL_SIGNS, "http://127.0.0.1/") | {"channelType": channel}
        del document["endpoint"]
        return await self._register(document)

    async def _websocket(self) -> None:
        system = "http://terminology.hl7.org/CodeSystem/subscription-channel-type"
        subscription_id = await self._connected({"system": system, "code": "websocket"})
        path = f"/r5/Subscription/{subscription_id}"
        answer = (await self._request("GET", f"{path}/$get-ws-binding-token", 200)).json()
        token = {part["name"]: part for part in answer["parameter"]}
        async with websockets.connect(token["websocket-url"]["valueUrl"], open_timeout=60) as socket:
            payload = {"token": token["token"]["valueString"]}
            await socket.send(json.dumps({"type": "bind-with-token", "payload": payload}))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._random.uniform(0, 2 * _READ_S)):
                    async for _ in socket:
                        pass
            if self._random.random() < 0.5:
                socket.transport.abort()
        await self._request("DELETE", path, 200, 204)

    async def _event_stream(self) -> None:
        channel = {"system": "http://fhir-broker.org/channel-types", "code": "server-sent-events"}
        subscription_id = await self._connected(channel)
        path = f"/r5/Subscription/{subscription_id}"
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(self._random.uniform(0.2, 2 * _READ_S)),
                self.client.stream("GET", f"{path}/$stream") as response,
            ):
                async for _ in response.aiter_bytes():
                    pass
        await self._request("DELETE", path, 200, 204)

    async def _inbox(self) -> None:
        resource = observation(HEART_RATE, self._patient_id(), _AT, 60)
        await self.store.xadd("fhir:inbox", {"resource": json.dumps(resource)})
        if next(self._numbers) % 2:
            await self.store.xadd("fhir:inbox", {"resource": '{"resourceType": "Observation"}'})

    async def _discard(self) -> None:
        body = {
            "resourceType": "Parameters",
            "parameter": [{"name": "all", "valueBoolean": True}],
        }
        await self._request("POST", "/r5/$discard-dead-letters", 200, json=body)

    async def _business_event(self) -> None:
        encounter = f"e{self._random.randrange(_ENCOUNTERS)}"
        resource = {
            "resourceType": "Encounter",
            "id": encounter,
            "identifier": [{"system": "urn:example:soak", "value": encounter}],
            "status": "in-progress",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
            "subject": {"reference": f"Patient/{self._patient_id()}"},
        }
        coding = {"system": "http://terminology.hl7.org/CodeSystem/v2-0003", "code": "A01"}
        parameters = [
            {"name": "event", "valueCodeableConcept": {"coding": [coding]}},
            {"name": "resource", "resource": resource},
        ]
        body = {"resourceType": "Parameters", "parameter": parameters}
        headers = {"Idempotency-Key": f"event-{next(self._numbers)}"}
        await self._request("POST", "/r4/$business-event", 200, json=body, headers=headers)

    async def _read(self) -> None:
        page = (await self._request("GET", "/r5/Subscription?_count=5", 200)).json()
        for entry in page.get("entry", ())[:2]:
            path = f"/r5/Subscription/{entry['resource']['id']}"
            for operation in ("$status", "$events"):
                # the subscription may be deleted meanwhile
                await self._request("GET", f"{path}/{operation}", 200, 404, 410)
        for path in ("/r4/metadata", "/metrics", "/readyz", "/r4/$dead-letters", "/r4/Patient/p1"):
            await self._request("GET", path, 200, 404)

    async def _forget(self) -> None:
        """The subscriber records every notification; the soak needs none of them."""
        for name in ("failing", "prompt", "admissions"):
            endpoint = self.subscriber.endpoint(name)
            for record in (endpoint.received, endpoint.numbers, endpoint.latencies_ms):
                record.clear()
