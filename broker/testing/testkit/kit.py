"""What a scenario works with: a broker, a subscriber, a gateway. Each scenario has a patient of its own, so
that it does not see the events of others.
"""

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

from broker.clock import SystemClock, to_instant
from broker.testing.gateway import SimulatedGateway
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import Answer, Endpoint, SimulatedSubscriber

Restart = Callable[[], Awaitable[None]]
"""Kills the broker and starts it again, with its data; returns when it is ready."""


class NotApplicable(Exception):  # noqa: N818 named after the condition
    """The scenario cannot run against this broker; the message says why."""


class Blocked:
    """Answers event notifications only after `open` was called."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()

    async def __call__(self, body: bytes) -> Answer:
        if b"event-notification" in body:
            await self._opened.wait()
        return Answer()

    def open(self) -> None:
        self._opened.set()


class AtFirst:
    """Answers the first event notifications in turn with these, and 200 from then on."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = iter(answers)

    async def __call__(self, body: bytes) -> Answer:
        if b"event-notification" not in body:
            return Answer()
        return next(self._answers, Answer())


class Desk:
    """One Subscription of a scenario, with its endpoint and its patient."""

    def __init__(self, kit: "Kit", endpoint: Endpoint, document: dict[str, Any], patient: str) -> None:
        self._kit = kit
        self.endpoint = endpoint
        self.id = str(document["id"])
        self.patient = patient
        self.sent: list[float] = []

    @property
    def url(self) -> str:
        return f"{self._kit.base}/Subscription/{self.id}"

    def reading(self) -> dict[str, Any]:
        """The next heart rate of the patient."""
        now = to_instant(SystemClock().now_ms())
        return observation(HEART_RATE, self.patient, now, 60.0 + len(self.sent))

    async def send(self, count: int, resource_id: str = "") -> list[str]:
        """Sends so many heart rates, as versions of the Observation with the id if it is named; what the
        broker refused.
        """
        problems = []
        for _ in range(count):
            reading = self.reading() | ({"id": resource_id} if resource_id else {})
            value = reading["valueQuantity"]["value"]
            if await self._kit.gateway.send(reading):
                self.sent.append(value)
            else:
                problems.append(f"the broker refused a reading: {self._kit.gateway.refused[-1][1]}")
        return problems

    async def until_delivered(self) -> list[str]:
        """Waits for an event for each reading; gaps, repetitions in the numbers and wrong orders."""
        wanted = len(self.sent)
        await self._kit.until(lambda: len(self.endpoint.numbers) >= wanted)
        numbers = self.endpoint.numbers
        if numbers == list(range(1, wanted + 1)):
            return []
        return [f"the event numbers are {numbers[:20]}, not 1 to {wanted}"]

    async def read(self) -> dict[str, Any]:
        document: dict[str, Any] = (await self._kit.client.get(self.url)).json()
        return document

    async def until_status(self, status: str) -> list[str]:
        """Waits until the Subscription has a status."""
        found = ""
        for _ in range(int(self._kit.patience_s / 0.1)):
            found = (await self.read()).get("status", "")
            if found == status:
                return []
            await self._kit.pause(0.1)
        return [f"the status is {found!r}, not {status!r}"]


class Kit:
    """`base` is the broker's base of the `release`, one of `r4`, `r4b` and `r5`. `topic` fires for each vital
    sign. `restart` is None for a broker that the kit cannot kill. A scenario waits `patience_s`
    for what has to happen.
    """

    def __init__(
        self,
        base: str,
        subscriber: SimulatedSubscriber,
        gateway: SimulatedGateway,
        client: httpx.AsyncClient,
        *,
        topic: str,
        release: str = "r4",
        restart: Restart | None = None,
        patience_s: float = 60.0,
    ) -> None:
        self.base = base.rstrip("/")
        self.subscriber = subscriber
        self.gateway = gateway
        self.client = client
        self.topic = topic
        self.release = release
        self.patience_s = patience_s
        self._restart = restart
        self._names = itertools.count(1)

    @contextlib.asynccontextmanager
    async def subscribed(
        self, content: str = "id-only", *, heartbeat_s: int | None = None
    ) -> AsyncIterator[Desk]:
        """A new Subscription to the readings of a new patient, active, and deleted at the end."""
        patient = f"testkit-{uuid.uuid4()}"
        name = f"testkit-{next(self._names)}"
        # the form of the backport has the type in front, that of R5 has no place for it
        prefix = "" if self.release == "r5" else "Observation?"
        document = subscription(
            self.release,
            self.topic,
            self.subscriber.url(name),
            content=content,
            filters=[f"{prefix}patient=Patient/{patient}"],
            heartbeat_s=heartbeat_s,
        )
        accepted = await register_subscription(self.client, self.base, document)
        desk = Desk(self, self.subscriber.endpoint(name), accepted, patient)
        try:
            if problems := await desk.until_status("active"):
                raise NotApplicable(f"the Subscription does not become active: {problems[0]}")
            yield desk
        finally:
            await self.client.delete(desk.url)

    async def restart(self) -> None:
        """Raises `NotApplicable` for a broker that the kit has not started."""
        if self._restart is None:
            raise NotApplicable("the kit cannot kill this broker: name a command with --restart")
        await self._restart()

    async def until(self, holds: Callable[[], bool]) -> bool:
        return await self.subscriber.wait_until(holds, self.patience_s)

    async def pause(self, seconds: float) -> None:
        """Waits, unless more notifications come."""
        await self.subscriber.wait_until(lambda: False, seconds)
