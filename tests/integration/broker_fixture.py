"""One subscriber and one producer of a broker under test: registers, sends, asks, and waits with a deadline."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import Answer, Endpoint, SimulatedSubscriber

VITAL_SIGNS = "http://fhir-broker.org/topics/vital-signs"
_NOW = "2025-03-01T08:00:00Z"


async def until(holds: Callable[[], Awaitable[bool]], timeout_s: float = 10.0) -> None:
    """Asks again and again; fails with TimeoutError when the time runs out."""
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110 the broker is asked over HTTP: nobody sets an event
            await asyncio.sleep(0.01)


class Gate:
    """An endpoint's answer that is held back until `opened`; counts how many requests were inside at once."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()
        self.inside = 0
        self.most_inside = 0

    async def __call__(self, _body: bytes) -> Answer:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.entered.set()
        try:
            # a test that failed must not hold up the end of the subscriber
            await asyncio.wait_for(self.opened.wait(), 15)
        finally:
            self.inside -= 1
        return Answer(self.status)


class Script:
    """An endpoint's answers in turn: statuses or answers; when they are used up, 200."""

    def __init__(self, *answers: int | Answer) -> None:
        self._answers = iter(answers)

    async def __call__(self, _body: bytes) -> Answer:
        answer = next(self._answers, 200)
        return Answer(answer) if isinstance(answer, int) else answer


class BrokerFixture:
    """`client` speaks to the broker; notifications come to `subscriber`."""

    def __init__(self, client: httpx.AsyncClient, subscriber: SimulatedSubscriber) -> None:
        self.client = client
        self.subscriber = subscriber
        self._count = itertools.count(1)

    def document(
        self, name: str, *, topic: str = VITAL_SIGNS, release: str = "r5", **options: Any
    ) -> dict[str, Any]:
        return subscription(release, topic, self.subscriber.url(name), **options)

    async def subscribe(
        self, name: str, *, end: str | None = None, release: str = "r5", **options: Any
    ) -> str:
        """Registers the endpoint `name` and waits until the subscription is active; its id."""
        document = self.document(name, release=release, **options) | ({"end": end} if end else {})
        one: str = (await register_subscription(self.client, f"/{release}", document))["id"]
        await self.until_status(one, "active")
        return one

    async def request_again(self, one: str, **changed: Any) -> None:
        """What a client does to leave `error`: it reads its Subscription and asks for it anew."""
        document = (await self.client.get(f"/r5/Subscription/{one}")).json()
        response = await self.client.put(
            f"/r5/Subscription/{one}", json=document | {"status": "requested"} | changed
        )
        assert response.status_code == 200, response.text

    async def send(self, count: int = 1, patient: str = "ana") -> list[str]:
        """Posts heart rates one after the other; their ids."""
        made = []
        for _ in range(count):
            reading = observation(HEART_RATE, patient, _NOW, 50 + next(self._count) % 100)
            response = await self.client.post("/r4/Observation", json=reading)
            assert response.status_code == 201, response.text
            made.append(response.json()["id"])
        return made

    async def ask(self, one: str) -> dict[str, Any]:
        """The SubscriptionStatus that `$status` answers."""
        bundle = (await self.client.get(f"/r5/Subscription/{one}/$status")).json()
        found: dict[str, Any] = bundle["entry"][0]["resource"]
        return found

    async def error_code(self, one: str) -> str | None:
        """The code of the first error in `$status`, if there is one."""
        errors = (await self.ask(one)).get("error", [])
        return errors[0]["coding"][0]["code"] if errors else None

    async def status(self, one: str) -> str:
        return str((await self.ask(one))["status"])

    async def until_status(self, one: str, status: str, timeout_s: float = 10.0) -> None:
        async def holds() -> bool:
            return await self.status(one) == status

        await until(holds, timeout_s)

    async def until_counted(self, one: str, count: int) -> None:
        """Until the changes sent so far have become events."""

        async def holds() -> bool:
            return int((await self.ask(one))["eventsSinceSubscriptionStart"]) == count

        await until(holds)

    async def until_numbers(self, name: str, count: int, timeout_s: float = 10.0) -> Endpoint:
        """Until the endpoint has taken events 1 to `count`, each in its turn."""
        endpoint = self.subscriber.endpoint(name)
        arrived = await self.subscriber.wait_until(lambda: len(endpoint.numbers) >= count, timeout_s)
        assert arrived, f"{name} has {endpoint.numbers} after {timeout_s} s, not 1..{count}"
        assert endpoint.numbers == list(range(1, count + 1))
        return endpoint

    async def events(self, one: str) -> list[int]:
        """The event numbers `$events` lists."""
        bundle = (await self.client.get(f"/r5/Subscription/{one}/$events")).json()
        return [int(e["eventNumber"]) for e in bundle["entry"][0]["resource"].get("notificationEvent", [])]
