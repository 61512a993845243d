"""What the steps of the collection share: requests, registrations, waits with a deadline."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httpx

from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.validation.broker_process import BrokerProcess
from tests.validation.collection import Collection

FHIR_JSON = "application/fhir+json"
RELEASES = ("r4", "r4b", "r5")
NOW = "2026-03-01T08:00:00Z"


async def until(holds: Callable[[], Awaitable[bool]], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110 another process is asked: nobody sets an event
            await asyncio.sleep(0.02)


def has_events(endpoint: Endpoint, count: int) -> bool:
    return len(endpoint.numbers) >= count


def has_received(endpoint: Endpoint, count: int) -> bool:
    return len(endpoint.received) >= count


def has_heartbeat(endpoint: Endpoint) -> bool:
    return bool(endpoint.of_type("heartbeat"))


class Collector:
    """A client of the broker and its subscribers, and the documents received so far."""

    def __init__(
        self,
        broker: BrokerProcess,
        subscriber: SimulatedSubscriber,
        documents: Collection,
    ) -> None:
        self.broker = broker
        self.client = broker.client
        self.subscriber = subscriber
        self.mailbox = broker.mailbox
        self.documents = documents
        self.ids: dict[str, str] = {}
        """Endpoint name to the id of its subscription."""

    async def get(self, release: str, name: str, path: str, **query: str) -> dict[str, Any]:
        response = await self.client.get(f"/{release}/{path}", params=query)
        assert response.status_code == 200, f"{release}/{path}: {response.status_code} {response.text[:300]}"
        self.documents.add(release, name, response.content)
        answer: dict[str, Any] = response.json()
        return answer

    async def send(
        self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str
    ) -> httpx.Response:
        content = None if body is None else json.dumps(body)
        response = await self.client.request(
            method, path, content=content, headers={"Content-Type": FHIR_JSON} | headers
        )
        assert response.status_code < 300, f"{method} {path}: {response.status_code} {response.text[:300]}"
        return response

    async def subscribe(self, release: str, name: str, topic: str, **options: Any) -> None:
        document = subscription(release, topic, self.subscriber.url(name), **options)
        accepted = await register_subscription(self.client, f"/{release}", document)
        self.documents.add(release, "subscription-accepted", accepted)
        self.ids[name] = accepted["id"]
        assert await self.subscriber.wait_until(lambda: bool(self.subscriber.endpoint(name).received)), name
        await until(partial(self.has_status, name, "active"))

    async def has_status(self, name: str, status: str) -> bool:
        response = await self.client.get(f"/r5/Subscription/{self.ids[name]}/$status")
        return bool(response.json()["entry"][0]["resource"]["status"] == status)

    def keep_received(self, release: str, name: str, kind: str) -> None:
        for received in self.subscriber.endpoint(name).received:
            notification = received.notification
            shown = notification.type if notification else kind
            self.documents.add(release, f"{kind}-{shown}", received.body)
