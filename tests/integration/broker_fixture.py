"""Drives a broker under test as one subscriber and one producer.

`BrokerFixture` registers subscriptions, sends readings, reads `$status` and `$events`, and waits for
conditions. `Gate` and `Script` decide what an endpoint of the simulated subscriber answers. Every wait is for
a condition, with a deadline that is long enough for a loaded machine.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from broker.app import Running
from broker.app.access import load_clients, load_issuers
from broker.app.channels import document_client
from broker.app.parts import Parts
from broker.app.topics import load_catalog
from broker.security.subscription_secrets import SubscriptionSecrets
from broker.store.bodies import Bodies
from broker.store.change_log import ChangeLog
from broker.store.protocol import Store
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import Answer, Endpoint, SimulatedSubscriber
from tests.conftest import NO_AUTHORITIES, StartBroker
from tests.integration.operations_client import value

VITAL_SIGNS = "http://fhir-broker.org/topics/vital-signs"
WAIT_S = 60.0
"""The deadline of a wait: only a failing test uses it up."""
_NOW = "2025-03-01T08:00:00Z"


async def until(holds: Callable[[], Awaitable[bool]], timeout_s: float = WAIT_S) -> None:
    """Polls the condition. Raises TimeoutError when the time runs out."""
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110 the broker answers over HTTP: nobody sets an event
            await asyncio.sleep(0.01)


async def until_ready(client: httpx.AsyncClient, url: str = "/readyz", **headers: str) -> httpx.Response:
    """Until `/readyz` answers 200; that answer. On a loaded machine the store may need longer than the time
    it has there, which is 503.
    """
    async with asyncio.timeout(WAIT_S):
        while (response := await client.get(url, headers=headers)).status_code != 200:
            assert response.status_code == 503, response.text
            await asyncio.sleep(0.05)
    return response


async def until_matched(store: Store) -> None:
    """Until no change waits to be matched. One that waits when a subscription becomes active is its event."""
    change_log = ChangeLog(store)

    async def is_matched() -> bool:
        return not any((await change_log.backlog()).values())

    await until(is_matched)


class Gate:
    """An endpoint that answers only after `opened` is set. Counts the requests that wait at the same time."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()
        self.inside = 0
        self.max_inside = 0

    async def __call__(self, _body: bytes) -> Answer:
        self.inside += 1
        self.max_inside = max(self.max_inside, self.inside)
        self.entered.set()
        try:
            # bounded, so that a failed test does not block the subscriber's shutdown
            await asyncio.wait_for(self.opened.wait(), 2 * WAIT_S)
        finally:
            self.inside -= 1
        return Answer(self.status)

    async def until_entered(self) -> None:
        """Until a request has arrived."""
        await asyncio.wait_for(self.entered.wait(), WAIT_S)


class Script:
    """An endpoint that gives these answers in turn, and 200 after the last one."""

    def __init__(self, *answers: int | Answer) -> None:
        self._answers = iter(answers)

    async def __call__(self, _body: bytes) -> Answer:
        answer = next(self._answers, 200)
        return Answer(answer) if isinstance(answer, int) else answer


class BrokerFixture:
    """A client of the broker and its subscriber: `client` talks to the broker, `subscriber` receives
    notifications.
    """

    def __init__(self, client: httpx.AsyncClient, subscriber: SimulatedSubscriber) -> None:
        self.client = client
        self.subscriber = subscriber
        self._values = itertools.count(1)

    def document(
        self, name: str, *, topic: str = VITAL_SIGNS, release: str = "r5", **options: Any
    ) -> dict[str, Any]:
        """A Subscription for the endpoint `name`."""
        return subscription(release, topic, self.subscriber.url(name), **options)

    async def subscribe(
        self, name: str, *, end: str | None = None, release: str = "r5", **options: Any
    ) -> str:
        """Registers the endpoint `name`, waits until the subscription is active, and returns its id."""
        document = self.document(name, release=release, **options) | ({"end": end} if end else {})
        registered = await register_subscription(self.client, f"/{release}", document)
        await self.until_status(registered["id"], "active")
        return str(registered["id"])

    async def request_again(self, subscription_id: str, **changed: Any) -> None:
        """Reads the Subscription and puts it back with the status `requested`, as a client does to leave
        `error`.
        """
        url = f"/r5/Subscription/{subscription_id}"
        document = (await self.client.get(url)).json()
        response = await self.client.put(url, json=document | {"status": "requested"} | changed)
        assert response.status_code == 200, response.text

    async def send(self, count: int = 1, patient: str = "ana") -> list[str]:
        """Posts heart rates one after the other and returns their ids."""
        ids = []
        for _ in range(count):
            reading = observation(HEART_RATE, patient, _NOW, 50 + next(self._values) % 100)
            response = await self.client.post("/r4/Observation", json=reading)
            assert response.status_code == 201, response.text
            ids.append(response.json()["id"])
        return ids

    async def send_in_order(self, subscription_id: str, count: int) -> list[str]:
        """As `send`, but each reading is an event of the subscription before the next one is posted: changes
        of different resources may be numbered in either order.
        """
        ids: list[str] = []
        before = await self.event_count(subscription_id)
        for n in range(1, count + 1):
            ids += await self.send()
            await self.until_counted(subscription_id, before + n)
        return ids

    async def status_of(self, subscription_id: str) -> dict[str, Any]:
        """The SubscriptionStatus resource in the answer of `$status`."""
        bundle = (await self.client.get(f"/r5/Subscription/{subscription_id}/$status")).json()
        resource: dict[str, Any] = bundle["entry"][0]["resource"]
        return resource

    async def error_code(self, subscription_id: str) -> str | None:
        """The code of the first error in `$status`; None if there is no error."""
        errors = (await self.status_of(subscription_id)).get("error", [])
        return errors[0]["coding"][0]["code"] if errors else None

    async def status(self, subscription_id: str) -> str:
        return str((await self.status_of(subscription_id))["status"])

    async def event_count(self, subscription_id: str) -> int:
        """How many events the subscription has had since it was created."""
        return int((await self.status_of(subscription_id))["eventsSinceSubscriptionStart"])

    async def until_status(self, subscription_id: str, status: str, timeout_s: float = WAIT_S) -> None:
        async def has_status() -> bool:
            return await self.status(subscription_id) == status

        await until(has_status, timeout_s)

    async def until_counted(self, subscription_id: str, count: int) -> None:
        """Until the changes that were sent have become `count` events."""

        async def has_count() -> bool:
            return await self.event_count(subscription_id) == count

        await until(has_count)

    async def until_numbers(self, name: str, count: int, timeout_s: float = WAIT_S) -> Endpoint:
        """Until the endpoint has received the events 1 to `count`, in order."""
        endpoint = self.subscriber.endpoint(name)
        arrived = await self.subscriber.wait_until(lambda: len(endpoint.numbers) >= count, timeout_s)
        assert arrived, f"{name} has {endpoint.numbers} after {timeout_s} s, not 1..{count}"
        assert endpoint.numbers == list(range(1, count + 1))
        return endpoint

    async def until_delivered(self, subscription_id: str, number: int) -> None:
        """Until the broker has recorded that the event of this number was delivered, which is later than the
        endpoint has it: what is not recorded is sent again after an update, a retry or a restart.
        """

        async def is_recorded() -> bool:
            response = await self.client.get(f"/r5/Subscription/{subscription_id}/$delivery")
            assert response.status_code == 200, response.text
            return int(value(response.json(), "delivered")) >= number

        await until(is_recorded)

    async def events(self, subscription_id: str) -> list[int]:
        """The event numbers in the answer of `$events`."""
        bundle = (await self.client.get(f"/r5/Subscription/{subscription_id}/$events")).json()
        events = bundle["entry"][0]["resource"].get("notificationEvent", [])
        return [int(event["eventNumber"]) for event in events]


@asynccontextmanager
async def broker_with(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, **settings: object
) -> AsyncIterator[BrokerFixture]:
    """A broker with the settings, and the fixture that drives it."""
    headers = {"Content-Type": "application/fhir+json"}
    async with (
        start_broker(**settings) as broker,
        httpx.AsyncClient(
            base_url=broker.settings.base_url,
            headers=headers,
            timeout=60,
            trust_env=False,
            verify=NO_AUTHORITIES,
        ) as client,
    ):
        yield BrokerFixture(client, subscriber)


def parts_of(broker: Running, store: Store) -> Parts:
    """What builds further workers for a broker: they have no channels and no secrets."""
    settings = broker.settings
    return Parts(
        settings,
        store,
        load_catalog(settings),
        {},
        load_clients(settings),
        load_issuers(settings),
        SubscriptionSecrets(None),
        document_client(settings),
        Bodies(),
    )
