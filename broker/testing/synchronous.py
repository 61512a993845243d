"""Handles by which tests without asyncio use a subscriber and a gateway; tests with asyncio may too."""

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from broker.clock import SystemClock, to_instant
from broker.testing.gateway import SimulatedGateway
from broker.testing.loop_thread import LoopThread
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import Endpoint, Received, SimulatedSubscriber

VITAL_SIGNS = "http://fhir-broker.org/topics/vital-signs"
_ACTIVATION_S = 60.0
_POLL_S = 0.05


class Subscribed:
    """One Subscription and the notifications that arrived for it."""

    def __init__(
        self,
        loop: LoopThread,
        subscriber: SimulatedSubscriber,
        endpoint: Endpoint,
        document: Mapping[str, Any],
        base: str,
    ) -> None:
        self._loop = loop
        self._subscriber = subscriber
        self._base = base
        self.endpoint = endpoint
        self.document = document

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def received(self) -> Sequence[Received]:
        """Every request, with handshakes and repetitions."""
        return self.endpoint.received

    @property
    def resources(self) -> list[Mapping[str, Any]]:
        """The resources of all event notifications, with those of repetitions."""
        notifications = self.endpoint.of_type("event-notification")
        return [each for notification in notifications for each in notification.resources]

    def wait_for_events(self, count: int, timeout_s: float = 60.0) -> list[int]:
        """The numbers of the first events. Raises `AssertionError` if fewer arrive within the time."""
        numbers = self.endpoint.numbers
        if not self._loop.run(self._subscriber.wait_until(lambda: len(numbers) >= count, timeout_s)):
            raise AssertionError(f"{len(numbers)} of {count} events arrived within {timeout_s} s")
        return numbers[:count]

    @property
    def duplicates(self) -> int:
        """How many events came again after they were answered 2xx."""
        return self.endpoint.duplicates

    def rotate_secret(self) -> str:
        """A new signing secret of this broker. From now on, what neither it nor the one before has signed is
        refused, and is a problem.
        """
        response = httpx.post(
            f"{self._base}/Subscription/{self.id}/$rotate-secret", trust_env=False, timeout=20
        )
        secret = str(response.raise_for_status().json()["parameter"][0]["valueString"])
        self.endpoint.secrets = [*self.endpoint.secrets[-1:], secret]
        return secret

    @property
    def problems(self) -> list[str]:
        """Gaps in the numbers, and requests that were not signed or no valid Bundle of their release."""
        numbers = [0, *self.endpoint.numbers]
        gaps = [
            f"events {low + 1} to {high - 1} are missing"
            for low, high in itertools.pairwise(numbers)
            if high > low + 1
        ]
        of_requests = [text for each in self.received for text in (each.problem, *each.findings) if text]
        return gaps + of_requests


class SubscriberHandle:
    """A simulated subscriber at a broker. What it subscribes to is deleted at the end of the test."""

    def __init__(self, loop: LoopThread, subscriber: SimulatedSubscriber, base: str) -> None:
        self._loop = loop
        self._base = base
        self._names = itertools.count(1)
        self._ids: list[str] = []
        self.simulated = subscriber

    def subscribe(
        self, topic: str = VITAL_SIGNS, *, content: str = "full-resource", filters: Sequence[str] = ()
    ) -> Subscribed:
        """A new Subscription in R4's form, when it is active."""
        name = f"endpoint-{next(self._names)}"
        document = subscription("r4", topic, self.simulated.url(name), content=content, filters=filters)
        accepted = self._loop.run(self._register(document))
        self._ids.append(accepted["id"])
        self._wait_until_active(accepted["id"])
        return Subscribed(self._loop, self.simulated, self.simulated.endpoint(name), accepted, self._base)

    def _wait_until_active(self, id: str) -> None:
        url = f"{self._base}/Subscription/{id}"
        status = ""
        deadline = time.monotonic() + _ACTIVATION_S
        while time.monotonic() < deadline:
            status = httpx.get(url, trust_env=False, timeout=20).json().get("status", "")
            if status == "active":
                return
            time.sleep(_POLL_S)
        raise AssertionError(f"Subscription/{id} is {status!r}, not active, after {_ACTIVATION_S} s")

    def unsubscribe(self) -> None:
        """Deletes the Subscriptions."""
        while self._ids:
            httpx.delete(f"{self._base}/Subscription/{self._ids.pop()}", trust_env=False, timeout=20)

    async def _register(self, document: dict[str, Any]) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            return await register_subscription(client, self._base, document)


class GatewayHandle:
    """A simulated gateway at a broker."""

    def __init__(self, loop: LoopThread, gateway: SimulatedGateway) -> None:
        self._loop = loop
        self._clock = SystemClock()
        self.simulated = gateway

    def send(self, resource: Mapping[str, Any]) -> None:
        """Sends a resource until the broker takes it. Raises `AssertionError` if it refuses."""
        if not self._loop.run(self.simulated.send(resource)):
            raise AssertionError(f"the broker refused: {self.simulated.refused[-1]}")

    def send_heart_rates(self, *values: float, patient: str = "p1") -> None:
        """Sends a heart rate for each value, of now."""
        for value in values:
            self.send(observation(HEART_RATE, patient, to_instant(self._clock.now_ms()), value))
