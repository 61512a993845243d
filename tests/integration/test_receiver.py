"""The receiver at a real broker: signed notifications, a receiver that was away, and events it lost."""

import asyncio
from pathlib import Path

import httpx
from starlette.applications import Starlette

from broker.receiver import CatchUp, Event, Gap, Ledger, NotificationMiddleware, Receiver
from broker.testing.subscriber import Answer, SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import broker_with


class Application:
    """Behind the simulated subscriber, which passes each request on to the middleware."""

    def __init__(self, ledger: Ledger, base: str, client: httpx.AsyncClient) -> None:
        self.events: list[Event] = []
        self.gaps: list[Gap] = []
        self.receiver = Receiver(
            self._handle,
            ledger,
            secrets=None,
            catch_up=CatchUp(base, client),
            on_gap=self._on_gap,
        )
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(NotificationMiddleware(Starlette(), self.receiver)),
            base_url="http://receiver.example",
        )

    async def __call__(self, body: bytes) -> Answer:
        answer = await self._client.post("/notifications", content=body)
        return Answer(answer.status_code)

    async def _handle(self, event: Event) -> None:
        await asyncio.sleep(0)
        self.events.append(event)

    async def _on_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)

    @property
    def numbers(self) -> list[int]:
        return [event.number for event in self.events]


async def test_a_receiver_gets_what_a_faulty_subscriber_before_it_has_dropped(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, tmp_path: Path
) -> None:
    """The endpoint acknowledged three events and lost them; the receiver then fetches them by `$events`."""
    async with (
        broker_with(start_broker, subscriber) as fixture,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        await fixture.subscribe("a", content="full-resource")
        for _ in range(3):
            await fixture.send()
        await fixture.until_numbers("a", 3)
        base = str(fixture.client.base_url).rstrip("/") + "/r5"
        with Ledger(tmp_path / "ledger.db") as ledger:
            application = Application(ledger, base, client)
            subscriber.endpoint("a").answer = application
            await fixture.send()
            await fixture.until_numbers("a", 4)
        assert application.numbers == [1, 2, 3, 4]
        assert application.gaps == []
        assert all(event.resource is not None for event in application.events)
