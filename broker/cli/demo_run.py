"""Runs a demo: registers subscriptions, sends readings, and computes itself which events must arrive."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from broker.cli.demo_clients import GATEWAY, DemoClients
from broker.clock import SystemClock, to_instant
from broker.errors import ConfigurationError
from broker.tasks import sleep_unless
from broker.testing.gateway import SimulatedGateway
from broker.testing.inputs import Input
from broker.testing.readings import GLUCOSE, HEART_RATE, Reading, readings
from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import Endpoint, Received, SimulatedSubscriber

TOPICS = "http://fhir-broker.org/topics/"
PATIENTS = ("demo-1", "demo-2", "demo-3")
_WAIT_FOR_EVENTS_S = 30.0
_ACTIVATION_S = 30.0
_MAX_REASONS = 20


def current_instants() -> Iterator[str]:
    """The time of each reading: the time at which it is taken from here."""
    clock = SystemClock()
    while True:
        yield to_instant(clock.now_ms())


@dataclass(frozen=True, slots=True)
class Plan:
    """One subscription of the demo. `expects` says whether a reading must be notified to it."""

    name: str
    release: str
    topic: str
    content: str
    filters: tuple[str, ...]
    expects: Callable[[Reading], bool]
    description: str
    max_count: int | None = None


PLANS = (
    Plan(
        "ehr-r5",
        "r5",
        "vital-signs",
        "full-resource",
        ("code=http://loinc.org|8867-4", "value-quantity=ge100"),
        lambda reading: reading.kind is HEART_RATE and reading.value >= 100,
        "heart rate of 100 or more",
        max_count=10,
    ),
    Plan(
        "ehr-r4",
        "r4",
        "vital-signs",
        "id-only",
        ("Observation?patient=Patient/demo-1",),
        lambda reading: reading.kind.category == "vital-signs" and reading.patient == "demo-1",
        "patient demo-1",
    ),
    Plan(
        "ehr-r4b",
        "r4b",
        "glucose",
        "empty",
        ("value-quantity=gt180|http://unitsofmeasure.org|mg/dL",),
        lambda reading: reading.kind is GLUCOSE and reading.value > 180,
        "over 180 mg/dL",
    ),
)
REPLAY_PLANS = (
    Plan("ehr-r5", "r5", "vital-signs", "full-resource", (), lambda _: True, "all", max_count=10),
    Plan("ehr-r4", "r4", "vital-signs", "id-only", (), lambda _: True, "all"),
    Plan("ehr-r4b", "r4b", "vital-signs", "empty", (), lambda _: True, "all"),
)


@dataclass(slots=True)
class Row:
    """A subscription of the running demo. `expected` counts the events that must arrive."""

    plan: Plan
    id: str
    endpoint: Endpoint
    expected: int = 0

    @property
    def lost(self) -> int:
        return max(0, self.expected - len(self.endpoint.numbers))


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a demo. Latencies are from acceptance to arrival, in milliseconds."""

    accepted: int
    refused: int
    matched: int
    notified: int
    lost: int
    unexpected: int
    duplicates: int
    out_of_order: int
    invalid: int
    signed: int
    latency_p50_ms: float
    latency_p99_ms: float
    reasons: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    """Why readings were refused, and what is not valid in the Bundles."""

    @property
    def is_complete(self) -> bool:
        unwanted = self.unexpected + self.duplicates + self.out_of_order + self.invalid
        return self.refused + self.lost + unwanted == 0 and self.matched > 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class DemoRun:
    """One run against a broker that is ready."""

    def __init__(
        self, base_url: str, subscriber: SimulatedSubscriber, stop: asyncio.Event, clients: DemoClients
    ) -> None:
        self.base_url = base_url
        self.clients = clients
        self.rows: list[Row] = []
        self.sent = 0
        self.gateway = SimulatedGateway(f"{base_url}/r4", auth=clients.auth(GATEWAY, f"{base_url}/r4"))
        self._subscriber = subscriber
        self._stop = stop

    async def register(self, plans: Sequence[Plan]) -> None:
        """Registers the subscriptions over HTTP, each by its own client, waits until all are active, and has
        their notifications signed.
        """
        async with contextlib.AsyncExitStack() as stack:
            clients: dict[str, httpx.AsyncClient] = {}
            for plan in plans:
                base = f"{self.base_url}/{plan.release}"
                document = subscription(
                    plan.release,
                    TOPICS + plan.topic,
                    self._subscriber.url(plan.name),
                    content=plan.content,
                    filters=plan.filters,
                    max_count=plan.max_count,
                )
                auth = self.clients.auth(plan.name, base)
                client = await stack.enter_async_context(
                    httpx.AsyncClient(timeout=30, trust_env=False, auth=auth)
                )
                clients[plan.name] = client
                accepted = await register_subscription(client, base, document)
                self.rows.append(Row(plan, accepted["id"], self._subscriber.endpoint(plan.name)))
            deadline = time.monotonic() + _ACTIVATION_S
            while not all([await self._is_active(clients[row.plan.name], row) for row in self.rows]):
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"The subscriptions did not become active within {_ACTIVATION_S:g} s. "
                        "Run the demo again when this machine is less busy."
                    )
                await asyncio.sleep(0.02)
            for row in self.rows:
                await self._sign(clients[row.plan.name], row)

    async def _sign(self, client: httpx.AsyncClient, row: Row) -> None:
        """From now on, the endpoint refuses what is not signed by the secret that the broker has made."""
        url = f"{self.base_url}/{row.plan.release}/Subscription/{row.id}/$rotate-secret"
        response = await client.post(url)
        if not response.is_success:
            raise ConfigurationError(f"The notifications of {row.plan.name} are not signed: {response.text}")
        row.endpoint.secrets = [response.json()["parameter"][0]["valueString"]]

    async def _is_active(self, client: httpx.AsyncClient, row: Row) -> bool:
        read = await client.get(f"{self.base_url}/{row.plan.release}/Subscription/{row.id}")
        return bool(read.json().get("status") == "active")

    async def simulate(self, rate: float, count: int | None) -> None:
        """Sends readings at a steady rate, until `count` is reached or the demo is stopped."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for n, reading in enumerate(itertools.islice(readings(PATIENTS, 1, current_instants()), count)):
                if await sleep_unless(self._stop, start + n / rate - time.monotonic()):
                    return
                tasks.create_task(self._send(reading))

    async def _send(self, reading: Reading) -> None:
        if await self.gateway.send(reading.resource, label=reading.kind.name):
            for row in self.rows:
                row.expected += row.plan.expects(reading)
        self.sent += 1

    async def replay(self, inputs: list[Input]) -> None:
        """Sends each resource of a folder; every subscription must receive every vital sign."""
        for resource in inputs:
            if self._stop.is_set():
                return
            for row in self.rows:
                row.expected += resource.is_vital_sign
            await self.gateway.send(resource.body, label=resource.label)
            self.sent += 1

    async def wait_for_events(self) -> None:
        """Waits until all expected events have arrived, or a deadline has passed."""
        await self._subscriber.wait_until(lambda: not any(row.lost for row in self.rows), _WAIT_FOR_EVENTS_S)

    def summary(self) -> Summary:
        latencies = sorted(latency for row in self.rows for latency in row.endpoint.latencies_ms)

        findings = [
            f"{row.plan.name}: {finding}"
            for row in self.rows
            for request in row.endpoint.received
            for finding in (*request.findings, *filter(None, [request.problem]))
        ]

        def percentile(part: float) -> float:
            return round(latencies[int((len(latencies) - 1) * part)], 1) if latencies else 0.0

        return Summary(
            accepted=self.gateway.accepted,
            refused=len(self.gateway.refused),
            matched=sum(row.expected for row in self.rows),
            notified=sum(len(row.endpoint.numbers) for row in self.rows),
            lost=sum(row.lost for row in self.rows),
            unexpected=sum(max(0, len(row.endpoint.numbers) - row.expected) for row in self.rows),
            duplicates=sum(row.endpoint.duplicates for row in self.rows),
            out_of_order=sum(_count_out_of_order(row.endpoint.numbers) for row in self.rows),
            invalid=sum(
                bool(request.findings or request.problem)
                for row in self.rows
                for request in row.endpoint.received
            ),
            signed=sum(_is_signed(request) for row in self.rows for request in row.endpoint.received),
            latency_p50_ms=percentile(0.5),
            latency_p99_ms=percentile(0.99),
            reasons=[f"{label}: {reason}" for label, reason in self.gateway.refused[:_MAX_REASONS]],
            findings=findings[:_MAX_REASONS],
        )


def _is_signed(request: Received) -> bool:
    """Whether the subscriber has verified a signature."""
    names = {name.lower() for name, _ in request.headers}
    return "webhook-signature" in names and not request.problem


def _count_out_of_order(numbers: list[int]) -> int:
    """How many numbers do not follow their predecessor directly."""
    return sum(after != before + 1 for before, after in itertools.pairwise([0, *numbers]))
