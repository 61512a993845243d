"""The readings campaign: devices send by MQTT and HTTP at once, with repeated, late and corrupt readings,
while the broker is killed. At the end each reading is one Observation and one event, and each corrupt payload
is in quarantine, whatever was sent twice.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from broker.client import AsyncProducer, RetryPolicy, reading
from broker.egress.mqtt import MqttUnreachable
from broker.egress.mqtt_publisher import MqttPublisher
from broker.testing.simulation import Disturbances, Emission, Fault, devices, disturbed, payload_of, samples
from tests.integration.commands import Command
from tests.integration.mosquitto import Mosquitto, running_mosquitto
from tests.ports import free_port
from tests.readings.counting import event_count, observations, quarantined_count, subscribe

START = datetime(2025, 3, 1, tzinfo=UTC)
_BATCH = 40
_PUBLISHERS = 4
_POLL_S = 0.05
_TOPICS = """
[[topic]]
filter = "$share/brokers/devices/+"
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is sent, and how long the campaign waits at the end for what is under way."""

    devices: int
    readings: int
    settle_s: float
    kills: int = 2
    seed: int = 14


@dataclass(slots=True)
class Expected:
    """What must be there at the end."""

    readings: int = 0
    quarantined: int = 0
    sent: Counter[Fault] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Found:
    """What is there: events, distinct Observations that they name, and quarantined payloads."""

    events: int
    observations: int
    quarantined: int


def emissions(size: Size) -> list[Emission]:
    taken = samples(devices(size.devices, size.seed), START, timedelta(minutes=1), count=size.readings)
    faults = Disturbances(duplicates=0.01, late=0.05, corrupt=0.01)
    return list(disturbed(taken, payload_of, faults, size.seed))


def expected_of(sent: Iterable[Emission]) -> Expected:
    expected = Expected()
    for emission in sent:
        expected.sent[emission.fault] += 1
        if emission.fault is Fault.CORRUPT:
            expected.quarantined += 1
        elif emission.fault is not Fault.DUPLICATE:
            expected.readings += 1
    return expected


class Brokers:
    """`serve` with its embedded store, and `mqtt` beside it."""

    def __init__(self, folder: Path, mosquitto: Mosquitto) -> None:
        (folder / "topics.toml").write_text(_TOPICS)
        self.base = f"http://127.0.0.1:{free_port()}"
        shared = {
            "data_dir": str(folder / "data"),
            "base_url": self.base,
            "log_level": "warning",
            "reading_patients": "create",
            "request_rate": "0",
        }
        port = self.base.rpartition(":")[2]
        self._serve = Command.of_broker(folder, "serve", port=port, **shared)
        mqtt_port = free_port()
        self._mqtt_base = f"http://127.0.0.1:{mqtt_port}"
        self._mqtt = Command.of_broker(
            folder,
            "mqtt",
            port=str(mqtt_port),
            mqtt_url=f"mqtt://127.0.0.1:{mosquitto.port}",
            mqtt_topics=str(folder / "topics.toml"),
            **shared,
        )

    async def start(self) -> None:
        await self._serve.spawn().until_ready(self.base)
        await self._mqtt.spawn().until_ready(self._mqtt_base)

    def kill(self) -> None:
        """SIGKILL to both."""
        self._mqtt.kill()
        self._serve.kill()


@contextlib.asynccontextmanager
async def running_brokers(folder: Path, mosquitto: Mosquitto) -> AsyncIterator[Brokers]:
    brokers = Brokers(folder, mosquitto)
    try:
        await brokers.start()
        yield brokers
    finally:
        brokers.kill()


class Progress:
    """How many payloads were taken over, by the broker or the MQTT server."""

    def __init__(self, total: int, report: Callable[[float], object]) -> None:
        self.done = 0
        self._total = total
        self._report = report
        self._changed = asyncio.Condition()

    async def add(self, count: int) -> None:
        async with self._changed:
            self.done += count
            self._report(self.done / self._total)
            self._changed.notify_all()

    async def until(self, share: float) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.done >= share * self._total)


async def run(
    folder: Path, size: Size, report: Callable[[float], object] = lambda _: None
) -> tuple[Expected, Found]:
    """Sends everything and reads what became of it."""
    sent = emissions(size)
    expected = expected_of(sent)
    source = random.Random(size.seed)
    by_http, by_mqtt = _split(sent, lambda: source.random() < 0.5)
    progress = Progress(len(sent), report)
    async with running_mosquitto(folder) as mosquitto, running_brokers(folder, mosquitto) as brokers:
        subscription_id = await subscribe(brokers.base)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_send_by_http(brokers.base, folder / "gateway.db", by_http, progress))
            queue = iter(by_mqtt)
            for n in range(_PUBLISHERS):
                tasks.create_task(_send_by_mqtt(mosquitto, f"gateway-{n}", queue, progress))
            for n in range(size.kills):
                await progress.until((n + 1) / (size.kills + 1))
                brokers.kill()
                await brokers.start()
        found = await _settled(brokers, subscription_id, expected, size.settle_s)
    return expected, found


def _split(
    sent: Sequence[Emission], is_first: Callable[[], bool]
) -> tuple[Sequence[Emission], Sequence[Emission]]:
    first: list[Emission] = []
    second: list[Emission] = []
    for emission in sent:
        (first if is_first() else second).append(emission)
    return first, second


async def _send_by_http(base: str, buffer: Path, sent: Sequence[Emission], progress: Progress) -> None:
    """Several readings in each request, through an offline buffer."""
    policy = RetryPolicy(base_s=0.05, max_s=0.5)
    async with AsyncProducer(base, buffer=buffer, policy=policy) as producer:
        for batch in _batches(sent, _BATCH):
            body = b"\n".join(emission.payload for emission in batch)
            await producer.put(reading(body, content_type="application/x-ndjson"))
            await producer.flush()
            await progress.add(len(batch))
        assert producer.buffer.refused() == []


def _batches(sent: Sequence[Emission], size: int) -> Iterator[Sequence[Emission]]:
    for n in range(0, len(sent), size):
        yield sent[n : n + size]


async def _send_by_mqtt(
    mosquitto: Mosquitto, client_id: str, sent: Iterator[Emission], progress: Progress
) -> None:
    publisher: MqttPublisher | None = None
    for emission in sent:
        topic = f"devices/{emission.sample.device.name}"
        while True:
            try:
                publisher = publisher or await MqttPublisher.open(mosquitto.server(client_id))
                await publisher.publish(topic, emission.payload)
                break
            except MqttUnreachable:
                publisher = None
                await asyncio.sleep(_POLL_S)
        await progress.add(1)
    if publisher is not None:
        await publisher.close()


async def _settled(brokers: Brokers, subscription_id: str, expected: Expected, settle_s: float) -> Found:
    """What is there when it is what is expected, or when the time is up."""
    wanted = expected.readings, expected.quarantined
    events = quarantined = 0
    async with httpx.AsyncClient(base_url=brokers.base, timeout=30, trust_env=False) as client:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settle_s):
                while (events, quarantined) != wanted:
                    await asyncio.sleep(10 * _POLL_S)
                    events = await event_count(client, subscription_id)
                    quarantined = await quarantined_count(client)
        return Found(events, len(await observations(client, subscription_id, events)), quarantined)
